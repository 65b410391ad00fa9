package tgsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// maxMessages is how many bytes of messages one request may hold.
const maxMessages = 16 << 20

// messageRequest is a Message as POST /messages takes it.
type messageRequest struct {
	From        ref    `json:"from"`
	To          string `json:"to"`
	Text        string `json:"text"`
	ForwardFrom string `json:"forward_from"`
}

// messageRequests is one of them, or a list.
type messageRequests struct {
	list bool
	all  []messageRequest
}

func (m *messageRequests) UnmarshalJSON(b []byte) error {
	if m.list = b[0] == '['; m.list {
		return decodeStrict(b, &m.all)
	}
	m.all = make([]messageRequest, 1)
	return decodeStrict(b, &m.all[0])
}

func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

type messageID struct {
	ID int `json:"id"`
}

func (s *Server) serveAddMessages(w http.ResponseWriter, r *http.Request) {
	var req messageRequests
	if err := bodyUpTo(r, maxMessages, &req); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	messages := make([]Message, len(req.all))
	for i, m := range req.all {
		from, err := s.accounts([]ref{m.From})
		if err != nil {
			refuse(w, http.StatusNotFound, err)
			return
		}
		messages[i] = Message{From: from[0], To: m.To, Text: m.Text, ForwardFrom: m.ForwardFrom}
	}
	if !req.list {
		id, err := s.Post(messages[0])
		answerOr(w, http.StatusCreated, messageID{id}, err)
		return
	}
	ids, err := s.Posts(messages...)
	out := make([]messageID, len(ids))
	for i, id := range ids {
		out[i].ID = id
	}
	answerOr(w, http.StatusCreated, out, err)
}

// pathMessage reads {message}.
func pathMessage(r *http.Request) (int, error) {
	id, err := strconv.Atoi(r.PathValue("message"))
	if err != nil {
		return 0, fmt.Errorf("%q is not the id of a message", r.PathValue("message"))
	}
	return id, nil
}

func (s *Server) serveDeleteMessage(w http.ResponseWriter, r *http.Request) {
	message, err := pathMessage(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	account, err := s.accountID(r.PathValue("account"))
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	answerOr(w, http.StatusOK, struct{}{}, s.DeleteMessages(account, message))
}

func (s *Server) serveDeleteChannelMessage(w http.ResponseWriter, r *http.Request) {
	message, err := pathMessage(r)
	channel, err2 := pathID(r)
	if err := errors.Join(err, err2); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	answerOr(w, http.StatusOK, struct{}{}, s.DeleteChannelMessages(channel, message))
}
