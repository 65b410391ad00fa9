package tgsim

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// wireControls serves what makes the protocol itself go wrong.
func (s *Server) wireControls(mux *http.ServeMux) {
	mux.HandleFunc("POST /faults", s.serveAddFault)
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		reply(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("GET /settings", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, s.Settings().json())
	})
	for _, path := range []string{"/rtt", "/clock", "/salts", "/gzip", "/resend"} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { s.serveChange(w, r, path) })
	}
	mux.HandleFunc("POST /method-home", s.serveMethodHome)
	act := func(path string, do func(actRequest, int64) any) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { s.serveAct(w, r, path, do) })
	}
	type connections struct {
		Connections int `json:"connections"`
	}
	type sessions struct {
		Sessions int `json:"sessions"`
	}
	act("/cut", func(_ actRequest, id int64) any { return connections{s.CutConnections(id)} })
	act("/half-open", func(a actRequest, id int64) any { return connections{s.HalfOpen(id, time.Duration(a.For), a.Close)} })
	act("/stall", func(a actRequest, id int64) any { return connections{s.Stall(id, time.Duration(a.For))} })
	act("/forget-sessions", func(_ actRequest, id int64) any { return sessions{s.ForgetSessions(id)} })
	act("/forget-keys", func(_ actRequest, id int64) any { s.ForgetKeys(id); return struct{}{} })
	act("/revoke", func(_ actRequest, id int64) any { s.RevokeSessions(id); return struct{}{} })
	act("/ban", func(a actRequest, id int64) any {
		if a.Error == "" {
			a.Error = "USER_DEACTIVATED_BAN"
		}
		if a.Lift {
			a.Error = ""
		}
		s.Ban(id, a.Error)
		return struct{}{}
	})
}

// span is a duration as 250ms in JSON.
type span time.Duration

func (d span) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *span) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration like 250ms", b)
	}
	*d = span(v)
	return nil
}

// faultRequest is a Fault as POST /faults takes it.
type faultRequest struct {
	Method       string  `json:"method"`
	Account      string  `json:"account"` // id or username
	Code         int     `json:"code"`
	Error        string  `json:"error"`
	DropAnswer   bool    `json:"drop_answer"`
	Cut          bool    `json:"cut"`
	Delay        span    `json:"delay"`
	EarlyAck     bool    `json:"early_ack"`
	DetailedInfo bool    `json:"detailed_info"`
	BadMsg       int     `json:"bad_msg"`
	Outer        bool    `json:"outer"`
	BadSalt      bool    `json:"bad_salt"`
	NewSession   bool    `json:"new_session"`
	Times        int     `json:"times"`
	Probability  float64 `json:"probability"`
}

func (s *Server) serveAddFault(w http.ResponseWriter, r *http.Request) {
	var req faultRequest
	if err := body(r, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	f := Fault{
		Method: req.Method, Code: req.Code, Error: req.Error, DropAnswer: req.DropAnswer, Cut: req.Cut,
		Delay: time.Duration(req.Delay), EarlyAck: req.EarlyAck, DetailedInfo: req.DetailedInfo,
		BadMsg: req.BadMsg, Outer: req.Outer, BadSalt: req.BadSalt, NewSession: req.NewSession,
		Times: req.Times, Probability: req.Probability,
	}
	var err error
	if f.Account, err = s.accountID(req.Account); err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if err := f.check(); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	s.AddFault(f)
	reply(w, http.StatusCreated, struct{}{})
}

// check finds what cannot be meant.
func (f *Fault) check() error {
	onCalls := f.Error != "" || f.DropAnswer || f.Cut || f.Delay != 0 || f.EarlyAck || f.DetailedInfo
	switch {
	case !onCalls && !f.onFrames():
		return errors.New("a fault needs one of error, drop_answer, cut, delay, early_ack, detailed_info, bad_msg, bad_salt, new_session")
	case onCalls && f.onFrames():
		return errors.New("bad_msg, bad_salt and new_session are faults of frames and need a fault of their own")
	case f.BadMsg < 0 || f.BadMsg > 255:
		return errors.New("bad_msg must be a code of bad_msg_notification, as 16")
	case f.BadMsg != 0 && f.BadSalt:
		return errors.New("bad_msg and bad_salt exclude each other")
	case f.Outer && f.BadMsg == 0:
		return errors.New("outer belongs to bad_msg")
	case f.Delay < 0:
		return errors.New("delay must not be negative")
	case f.Times < 0:
		return errors.New("times must not be negative")
	case f.Probability < 0 || f.Probability > 1:
		return errors.New("probability must be between 0 and 1")
	case f.Method == "" || knownMethod(f.Method) || f.onFrames() && knownMessage(f.Method):
		return nil
	}
	return fmt.Errorf("there is no method %q in the layer", f.Method)
}

// methodHome is what POST /method-home takes; dc 0 is every data centre.
type methodHome struct {
	Method string `json:"method"`
	DC     int    `json:"dc"`
}

func (s *Server) serveMethodHome(w http.ResponseWriter, r *http.Request) {
	var req methodHome
	err := body(r, &req)
	if err == nil {
		err = s.SetMethodHome(req.Method, req.DC)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	reply(w, http.StatusOK, req)
}

// settingsJSON is Settings as GET /settings shows them.
type settingsJSON struct {
	RTT             span `json:"rtt"`
	ClockSkew       span `json:"clock_skew"`
	RotateSaltEvery int  `json:"rotate_salt_every"`
	SaltOverlap     span `json:"salt_overlap"`
	GzipFrom        int  `json:"gzip_from"`
	GzipErrors      bool `json:"gzip_errors"`
	DetailedInfo    bool `json:"detailed_info"`
}

func (s Settings) json() settingsJSON {
	return settingsJSON{
		RTT: span(s.RTT), ClockSkew: span(s.ClockSkew), RotateSaltEvery: s.RotateSaltEvery, SaltOverlap: span(s.SaltOverlap),
		GzipFrom: s.GzipFrom, GzipErrors: s.GzipErrors, DetailedInfo: s.DetailedInfo,
	}
}

// changes of settings by path; a field that is absent stays as it is.
type (
	rttChange   struct{ RTT *span }
	clockChange struct{ Skew *span }
	saltsChange struct {
		Every   *int
		Overlap *span
		Rotate  bool   // now
		Account string // whose, for rotate
	}
	gzipChange struct {
		From   *int
		Errors *bool
	}
	resendChange struct{ Detailed *bool }
)

// serveChange answers with the settings that hold then.
func (s *Server) serveChange(w http.ResponseWriter, r *http.Request, path string) {
	var (
		rtt    rttChange
		clock  clockChange
		salts  saltsChange
		gzip   gzipChange
		resend resendChange
	)
	into := map[string]any{"/rtt": &rtt, "/clock": &clock, "/salts": &salts, "/gzip": &gzip, "/resend": &resend}[path]
	err := body(r, into)
	switch {
	case err != nil:
	case rtt.RTT != nil && *rtt.RTT < 0:
		err = errors.New("rtt must not be negative")
	case salts.Every != nil && *salts.Every < 0:
		err = errors.New("every must not be negative")
	case salts.Overlap != nil && *salts.Overlap < 0:
		err = errors.New("overlap must not be negative")
	case salts.Account != "" && !salts.Rotate:
		err = errors.New("account belongs to rotate: every and overlap are for all")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	account, err := s.accountID(salts.Account)
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	next := s.Change(func(set *Settings) {
		assign((*span)(&set.RTT), rtt.RTT)
		assign((*span)(&set.ClockSkew), clock.Skew)
		assign(&set.RotateSaltEvery, salts.Every)
		assign((*span)(&set.SaltOverlap), salts.Overlap)
		assign(&set.GzipFrom, gzip.From)
		assign(&set.GzipErrors, gzip.Errors)
		assign(&set.DetailedInfo, resend.Detailed)
	})
	if salts.Rotate {
		s.RotateSaltsOf(account)
	}
	reply(w, http.StatusOK, next.json())
}

func assign[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// actRequest is the body of what happens once; "" is every account.
type actRequest struct {
	Account string `json:"account"` // id or username
	For     span   `json:"for"`     // of half-open, stall
	Close   bool   `json:"close"`   // of half-open
	Error   string `json:"error"`   // of ban
	Lift    bool   `json:"lift"`    // of ban
}

func (s *Server) serveAct(w http.ResponseWriter, r *http.Request, path string, do func(actRequest, int64) any) {
	var req actRequest
	if err := body(r, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	id, err := s.accountID(req.Account)
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	lasts := path == "/half-open" || path == "/stall"
	switch {
	case lasts && req.For <= 0:
		err = errors.New("for must be a duration like 250ms")
	case !lasts && req.For != 0:
		err = fmt.Errorf("for does not belong to %s", path)
	case path != "/half-open" && req.Close:
		err = fmt.Errorf("close does not belong to %s", path)
	case path != "/ban" && (req.Error != "" || req.Lift):
		err = fmt.Errorf("error and lift do not belong to %s", path)
	case path == "/ban" && id == 0:
		err = errors.New("ban needs an account")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	reply(w, http.StatusOK, do(req, id))
}
