package tgsim

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// accountRequest is a User as POST /accounts takes it, with what a login of it
// needs. bot_token is for bots, the rest for users; all of it may be left out.
type accountRequest struct {
	User
	Password string `json:"password"` // 2FA
	Hint     string `json:"hint"`     // of the password
	BotToken string `json:"bot_token"`
	DC       int    `json:"dc"` // home; default: the server that is asked

	CodeWays    []CodeWay `json:"code_ways"`    // see SetCodeWays
	CodeTimeout int       `json:"code_timeout"` // in seconds
}

// addAccount adds a user with its password or token; a request that cannot be
// served adds nothing.
func (s *Server) addAccount(req accountRequest) (u User, token string, status int, err error) {
	switch {
	case req.Bot && (req.Password != "" || req.Hint != ""):
		err = errors.New("a bot has no password")
	case len(req.CodeWays) > 0 && digits(req.Phone) == "":
		err = errors.New("code_ways are for an account with a phone")
	case req.CodeTimeout < 0:
		err = errors.New("code_timeout is a number of seconds")
	case !req.Bot && req.BotToken != "":
		err = errors.New("only a bot has a bot_token")
	case req.BotToken != "" && req.ID == 0:
		err = errors.New("a bot_token begins with the bot's id: give the id as well")
	case req.BotToken != "":
		err = checkToken(req.ID, req.BotToken)
	default:
		err = checkWays(req.CodeWays)
	}
	if err != nil {
		return User{}, "", http.StatusBadRequest, err
	}
	if u, err = s.AddUser(req.User); err != nil {
		return User{}, "", http.StatusConflict, err
	}
	if req.Password != "" {
		err = s.SetPassword(u.ID, req.Password, req.Hint)
	}
	if len(req.CodeWays) > 0 && err == nil {
		err = s.SetCodeWays(req.Phone, time.Duration(req.CodeTimeout)*time.Second, req.CodeWays...)
	}
	if req.BotToken != "" {
		err = s.SetBotToken(u.ID, req.BotToken)
	}
	if err != nil {
		return User{}, "", http.StatusInternalServerError, err
	}
	token, _ = s.BotToken(u.ID)
	return u, token, 0, nil
}

// serveCode hands out the code that Telegram would show in the user's app.
func (s *Server) serveCode(w http.ResponseWriter, r *http.Request) {
	phone := r.URL.Query().Get("phone")
	if digits(phone) == "" {
		refuse(w, http.StatusBadRequest, fmt.Errorf("phone=%s is not a phone number", strconv.Quote(phone)))
		return
	}
	code, ok := s.LoginCode(phone)
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Errorf("no login code is open for %s", phone))
		return
	}
	reply(w, http.StatusOK, struct {
		Phone string `json:"phone"`
		Code  string `json:"code"`
	}{digits(phone), code})
}
