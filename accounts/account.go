package accounts

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// ID is an account's name: what a producer writes in a job and an operator on
// the command line. Compare the zero ID with "".
type ID string

// MaxID is the longest name of an account in bytes.
const MaxID = 64

// ParseID checks a name: 1 to 64 ASCII letters, digits and . _ - + @, the first
// of them a letter, a digit or +. Case matters.
func ParseID(s string) (ID, error) {
	if s == "" {
		return "", errors.New("the account's name is empty; give 1 to 64 letters, digits or . _ - + @")
	}
	if len(s) > MaxID {
		return "", fmt.Errorf("the account's name %.20q… has %d characters; at most %d are allowed", s, len(s), MaxID)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+':
		case i > 0 && (c == '.' || c == '_' || c == '-' || c == '@'):
		default:
			return "", fmt.Errorf("the account's name %q has %q at place %d; use letters, digits and . _ - + @, beginning with a letter, a digit or +", s, c, i+1)
		}
	}
	return ID(s), nil
}

// Kind tells users from bots: they have different rights in the API.
type Kind string

// The kinds of account.
const (
	User Kind = "user"
	Bot  Kind = "bot"
)

// ParseKind accepts "user" and "bot".
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case User, Bot:
		return k, nil
	}
	return "", fmt.Errorf("unknown kind of account %q; use user or bot", s)
}

// Status says whether an account's jobs run.
type Status string

// The states of an account. Jobs run while it is Active, and those that only read
// while it is Restricted; otherwise they wait on its line. See Befores for how one
// becomes another.
const (
	Active     Status = "active"
	Paused     Status = "paused"      // by an operator
	Restricted Status = "restricted"  // Telegram does not let it write to strangers
	Frozen     Status = "frozen"      // Telegram lets it read, and little else
	NeedsLogin Status = "needs_login" // Telegram no longer knows its session
	Banned     Status = "banned"      // Telegram deactivated the account
)

// Flooded is how an active account shows while Telegram wants all its calls to wait.
// It is never stored as a status: see Flood.
const Flooded Status = "flooded"

// Device is what the account tells Telegram about its client. It is kept stable
// per account: Telegram shows it in the list of sessions.
type Device struct {
	Model          string `json:"model,omitempty"`
	SystemVersion  string `json:"system_version,omitempty"`
	AppVersion     string `json:"app_version,omitempty"`
	SystemLangCode string `json:"system_lang_code,omitempty"`
	LangCode       string `json:"lang_code,omitempty"`
}

// Account is one Telegram account in Switchboard's care.
type Account struct {
	ID     ID                `json:"account"`
	Kind   Kind              `json:"kind"`
	Status Status            `json:"status"`
	Reason string            `json:"reason,omitempty"`      // why it is not active
	Since  time.Time         `json:"status_since,omitzero"` // zero: not known
	UserID int64             `json:"user_id,omitempty"`
	KeyID  string            `json:"auth_key_id,omitempty"` // of its session; "": not known yet
	DC     int               `json:"dc"`                    // home data center
	Proxy  Proxy             `json:"proxy,omitempty"`
	Device Device            `json:"device,omitzero"`
	Labels map[string]string `json:"labels,omitempty"`
	Pace   Pace              `json:"pace,omitzero"` // its own; see Pace.Or

	// APIID and APIHash are of the account's own application; 0: the deployment's. The
	// hash is for logins alone.
	APIID   int     `json:"api_id,omitempty"`
	APIHash APIHash `json:"-"`
	// Secrets are settings as a Store has them, sealed: see Registry.Account.
	Secrets []byte `json:"-"`

	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
}

// withDefaults returns a copy that shares nothing with a.
func (a Account) withDefaults() Account {
	if a.Kind == "" {
		a.Kind = User
	}
	if a.Status == "" {
		a.Status = Active
	}
	a.Labels = maps.Clone(a.Labels)
	return a
}

func (a Account) validate() error {
	if _, err := ParseID(string(a.ID)); err != nil {
		return err
	}
	if _, err := ParseKind(string(a.Kind)); err != nil {
		return err
	}
	if a.APIID < 0 || a.APIHash != "" && a.APIID == 0 {
		return fmt.Errorf("account %s: an application has an id of 1 or more (api_id, from my.telegram.org), and its hash goes with that", a.ID)
	}
	if a.DC < 1 || a.DC > 1000 {
		return fmt.Errorf("account %s: %d is no data center; give 1 to 5 (test and simulated servers may use others)", a.ID, a.DC)
	}
	return nil
}
