package tljson

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// TestDecode: what becomes of JSON, in gotd's types.
func TestDecode(t *testing.T) {
	flagged := func(o interface {
		bin.Object
		SetFlags()
	}) bin.Object {
		o.SetFlags()
		return o
	}
	empty := &tg.InputPeerEmpty{}
	zero := &tg.MessagesSearchRequest{Peer: empty, Q: "x", Filter: &tg.InputMessagesFilterEmpty{}}
	zero.SetTopMsgID(0)
	tests := []struct {
		name, method, params string
		want                 bin.Object
		peers                []Peer
	}{
		{"flags, and values that are there", "messages.sendMessage",
			`{"peer": {"_": "inputPeerUser", "user_id": 5, "access_hash": "-9007199254740993"}, "message": "hi", "silent": true, "no_webpage": false, "random_id": "7", "schedule_date": 1}`,
			flagged(&tg.MessagesSendMessageRequest{Silent: true, Peer: &tg.InputPeerUser{UserID: 5, AccessHash: -9007199254740993}, Message: "hi", RandomID: 7, ScheduleDate: 1}), nil},
		{"there and zero", "messages.search", `{"peer": "me", "q": "x", "filter": {"_": "inputMessagesFilterEmpty"}, "top_msg_id": 0}`,
			zero, []Peer{{Path: "params.peer", Text: "me", Class: AnyPeer}}},
		{"an int is an int", "messages.getHistory", `{"peer": "@durov", "limit": 10}`,
			&tg.MessagesGetHistoryRequest{Peer: empty, Limit: 10}, []Peer{{Path: "params.peer", Text: "@durov", Class: AnyPeer}}},
		{"hex digits in a string", "messages.checkChatInvite", `{"hash": "0123456789abcdef0123456789abcdef"}`,
			&tg.MessagesCheckChatInviteRequest{Hash: "0123456789abcdef0123456789abcdef"}, nil},
		{"a vector of peers", "users.getUsers", `{"id": ["me", {"_": "inputUser", "user_id": "9007199254740993", "access_hash": 1}, -100]}`,
			&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserEmpty{}, &tg.InputUser{UserID: 9007199254740993, AccessHash: 1}, &tg.InputUserEmpty{}}},
			[]Peer{{Path: "params.id[0]", Text: "me", Class: User}, {Path: "params.id[2]", Text: "-100", Class: User}}},
		{"longs as numbers", "messages.getFullChat", `{"chat_id": 9007199254740993}`, &tg.MessagesGetFullChatRequest{ChatID: 9007199254740993}, nil},
		{"nothing", "help.getConfig", ``, &tg.HelpGetConfigRequest{}, nil},
		{"null is left out", "messages.getHistory", ` {"peer": "@a_b_c", "hash": null, "limit": 1 } `, &tg.MessagesGetHistoryRequest{Peer: empty, Limit: 1},
			[]Peer{{Path: "params.peer", Text: "@a_b_c", Class: AnyPeer}}},
		{"one constructor", "messages.sendVote", `{"peer": -42, "msg_id": 1, "options": ["AA==", "_-8"]}`,
			&tg.MessagesSendVoteRequest{Peer: empty, MsgID: 1, Options: [][]byte{{0}, {0xff, 0xef}}}, []Peer{{Path: "params.peer", Text: "-42", Class: AnyPeer}}},
		{"one constructor, in an object", "contacts.updateContactNote", `{"id": "@someone", "note": {"text": "n", "entities": []}}`,
			&tg.ContactsUpdateContactNoteRequest{ID: &tg.InputUserEmpty{}, Note: tg.TextWithEntities{Text: "n", Entities: []tg.MessageEntityClass{}}},
			[]Peer{{Path: "params.id", Text: "@someone", Class: User}}},
		{"the constructor last", "messages.setTyping", `{"peer": "@a_b_c", "action": {"progress": 3, "_": "sendMessageUploadPhotoAction"}}`,
			&tg.MessagesSetTypingRequest{Peer: empty, Action: &tg.SendMessageUploadPhotoAction{Progress: 3}}, []Peer{{Path: "params.peer", Text: "@a_b_c", Class: AnyPeer}}},
		{"peers around peers", "messages.getPeerDialogs", `{"peers": ["@a_b_c", {"peer": "@d_e_f"}, {"_": "inputDialogPeerFolder", "folder_id": 1}]}`,
			&tg.MessagesGetPeerDialogsRequest{Peers: []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: empty}, &tg.InputDialogPeer{Peer: empty}, &tg.InputDialogPeerFolder{FolderID: 1}}},
			[]Peer{{Path: "params.peers[0]", Text: "@a_b_c", Class: Dialog}, {Path: "params.peers[1].peer", Text: "@d_e_f", Class: AnyPeer}}},
		{"peers of settings", "account.getNotifySettings", `{"peer": "+491701234567"}`,
			&tg.AccountGetNotifySettingsRequest{Peer: &tg.InputNotifyPeer{Peer: empty}}, []Peer{{Path: "params.peer", Text: "+491701234567", Class: Notify}}},
		{"peers without their constructor", "messages.getHistory", `{"peer": {"access_hash": "2", "channel_id": 7}}`,
			&tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChannel{ChannelID: 7, AccessHash: 2}}, nil},
		{"peers as answers have them", "messages.getHistory", `{"peer": {"_": "peerChannel", "channel_id": "7"}}`,
			&tg.MessagesGetHistoryRequest{Peer: empty}, []Peer{{Path: "params.peer", Text: "channel:7", Class: AnyPeer}}},
		{"an id alone", "users.getUsers", `{"id": [{"user_id": 7}]}`,
			&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserEmpty{}}}, []Peer{{Path: "params.id[0]", Text: "user:7", Class: User}}},
		{"a chat needs no hash", "messages.getHistory", `{"peer": {"chat_id": 7}}`, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChat{ChatID: 7}}, nil},
		{"deep in it", "messages.sendMessage", `{"peer": "me", "message": "m", "reply_to": {"_": "inputReplyToMessage", "reply_to_msg_id": 3, "reply_to_peer_id": "@a_b_c"}}`,
			func() bin.Object {
				reply := &tg.InputReplyToMessage{ReplyToMsgID: 3, ReplyToPeerID: empty}
				reply.SetFlags()
				return flagged(&tg.MessagesSendMessageRequest{Peer: empty, Message: "m", ReplyTo: reply})
			}(),
			[]Peer{{Path: "params.peer", Text: "me", Class: AnyPeer}, {Path: "params.reply_to.reply_to_peer_id", Text: "@a_b_c", Class: AnyPeer}}},
		{"a random_id for each", "messages.forwardMessages", `{"from_peer": "me", "to_peer": "me", "id": [1, 2, 3]}`,
			&tg.MessagesForwardMessagesRequest{FromPeer: empty, ToPeer: empty, ID: []int{1, 2, 3}, RandomID: []int64{0, 0, 0}},
			[]Peer{{Path: "params.from_peer", Text: "me", Class: AnyPeer}, {Path: "params.to_peer", Text: "me", Class: AnyPeer}}},
		{"what shares a flag", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "inputMediaUploadedPhoto", "file": {"_": "inputFile", "id": 1, "parts": 1, "name": "", "md5_checksum": ""}, "video": {"_": "inputDocumentEmpty"}}}`,
			func() bin.Object {
				photo := &tg.InputMediaUploadedPhoto{LivePhoto: true, File: &tg.InputFile{ID: 1, Parts: 1}, Video: &tg.InputDocumentEmpty{}}
				photo.SetFlags()
				return &tg.MessagesSendMediaRequest{Peer: empty, Media: photo}
			}(),
			[]Peer{{Path: "params.peer", Text: "me", Class: AnyPeer}}},
		{"doubles", "messages.getDialogs", `{"offset_date": -1}`, &tg.MessagesGetDialogsRequest{OffsetDate: -1, OffsetPeer: empty}, nil},
		{"a call in a call", "invokeWithLayer", `{"layer": 228, "query": {"_": "messages.getHistory", "peer": "me"}}`,
			&tg.InvokeWithLayerRequest{Layer: 228, Query: &tg.MessagesGetHistoryRequest{Peer: empty}}, []Peer{{Path: "params.query.peer", Text: "me", Class: AnyPeer}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := Decode(tt.method, []byte(tt.params))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, req.Body); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.peers, req.Peers, cmpopts.IgnoreUnexported(Peer{})); d != "" {
				t.Error(d)
			}
			encoded(t, req.Body)
		})
	}
}

// TestRefusals: what is wrong, where, and what would do.
func TestRefusals(t *testing.T) {
	const send = "messages.sendMessage"
	tests := []struct{ name, method, params, code, path, says string }{
		{"no method", "messages.sendMesage", `{}`, CodeUnknownMethod, "", "messages.sendMessage"},
		{"a constructor", "inputPeerSelf", `{}`, CodeUnknownMethod, "", "inputPeerSelf"},
		{"no JSON", send, `{"peer":`, CodeInvalidJSON, "params", "at byte 8"},
		{"no object", send, `[1]`, CodeWrongType, "params", "wants an object with the method's parameters, got an array"},
		{"unknown key", send, `{"to": "me"}`, CodeUnknownField, "params.to", "peer, "},
		{"unknown key of nothing", "help.getConfig", `{"x": 1}`, CodeUnknownField, "params.x", "takes nothing"},
		{"twice", send, `{"message": "a", "message": "b"}`, CodeUnknownField, "params.message", "twice"},
		{"missing", send, `{"peer": "me"}`, CodeMissingField, "params.message", "a string"},
		{"missing in a vector", "users.getUsers", `{"id": ["me", {"_": "inputUser", "user_id": 1}]}`, CodeMissingField, "params.id[1].access_hash", "64 bits"},
		{"no limit where nothing is read", "messages.deleteHistory", `{"peer": "me"}`, CodeMissingField, "params.max_id", "32 bits"},
		{"no hash that is a name", "messages.checkChatInvite", `{}`, CodeMissingField, "params.hash", "a string"},
		{"null for what is required", send, `{"peer": "me", "message": null}`, CodeMissingField, "params.message", ""},
		{"a string for an int", "messages.getHistory", `{"peer": "me", "limit": "10"}`, CodeWrongType, "params.limit", `wants an integer of 32 bits, got "10"`},
		{"a fraction", "messages.getHistory", `{"peer": "me", "limit": 1.5}`, CodeWrongType, "params.limit", "1.5"},
		{"an exponent", "messages.getHistory", `{"peer": "me", "limit": 1e3}`, CodeWrongType, "params.limit", "1e3"},
		{"more than an int", "messages.getHistory", `{"peer": "me", "limit": 2147483648}`, CodeOutOfRange, "params.limit", "-2147483648 to 2147483647"},
		{"more than a long", "messages.getHistory", `{"peer": "me", "hash": "9223372036854775808"}`, CodeOutOfRange, "params.hash", "64 bits"},
		{"no number", "messages.getHistory", `{"peer": "me", "hash": "0x10"}`, CodeWrongType, "params.hash", `"0x10"`},
		{"a number for a string", send, `{"peer": "me", "message": 5}`, CodeWrongType, "params.message", "wants a string, got 5"},
		{"not UTF-8", send, "{\"peer\": \"me\", \"message\": \"\xff\"}", CodeWrongType, "params.message", "UTF-8"},
		{"no bool", send, `{"peer": "me", "message": "m", "silent": 1}`, CodeWrongType, "params.silent", "true or false"},
		{"no base64", "messages.sendVote", `{"peer": "me", "msg_id": 1, "options": ["A"]}`, CodeInvalidBase64, "params.options[0]", `"A"`},
		{"padding amid base64", "messages.sendVote", `{"peer": "me", "msg_id": 1, "options": ["AA==="]}`, CodeInvalidBase64, "params.options[0]", ""},
		{"an object for a vector", "users.getUsers", `{"id": {"0": "me"}}`, CodeWrongType, "params.id", "wants an array of InputUser, got an object"},
		{"a peer of no kind", send, `{"peer": true, "message": ""}`, CodeWrongType, "params.peer", `a reference such as "@name"`},
		{"a peer with a fraction", send, `{"peer": 1.5, "message": ""}`, CodeWrongType, "params.peer", "1.5"},
		{"a peer with too many digits", send, `{"peer": 92233720368547758070, "message": ""}`, CodeWrongType, "params.peer", ""},
		{"a string where no peer goes", "messages.sendMedia", `{"peer": "me", "media": "a.jpg", "message": ""}`, CodeWrongType, "params.media", "an object of type InputMedia"},
		{"no constructor", "messages.sendMedia", `{"peer": "me", "media": {"file": 1}, "message": ""}`, CodeMissingField, "params.media._", "inputMediaEmpty"},
		{"another's constructor", send, `{"peer": {"_": "inputUserSelf"}, "message": ""}`, CodeUnknownType, "params.peer._", "inputPeerSelf"},
		{"unknown constructor", send, `{"peer": {"_": "inputPeerNobody"}, "message": ""}`, CodeUnknownType, "params.peer._", `got "inputPeerNobody"`},
		{"a constructor that is a number", send, `{"peer": {"_": 7}, "message": ""}`, CodeWrongType, "params.peer._", "got 7"},
		{"two constructors", send, `{"peer": {"_": "inputPeerSelf", "_": "inputPeerEmpty"}, "message": ""}`, CodeUnknownType, "params.peer._", "inputPeerSelf"},
		{"another method's params", send, `{"_": "messages.getHistory"}`, CodeUnknownType, "params._", send},
		{"half of what shares a flag", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "inputMediaUploadedPhoto", "file": {"_": "inputFile", "id": 1, "parts": 1, "name": "", "md5_checksum": ""}, "live_photo": true}}`,
			CodeMissingField, "params.media.video", "together with live_photo"},
		{"an unknown call in a call", "invokeWithLayer", `{"layer": 1, "query": {"_": "messages.nothing"}}`, CodeUnknownMethod, "params.query._", "messages.nothing"},
		{"a file of two sources", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "file", "path": "a", "url": "b"}}`, CodeMissingField, "params.media", "path, url"},
		{"a file of none", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "file", "name": "a"}}`, CodeMissingField, "params.media", "exactly one"},
		{"a file with more", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "file", "file": "a"}}`, CodeUnknownField, "params.media.file", "base64, mime_type, name, path, url"},
		{"a file that is no base64", "messages.sendMedia", `{"peer": "me", "message": "", "media": {"_": "file", "base64": "!"}}`, CodeInvalidBase64, "params.media.base64", ""},
		{"a file where none goes", send, `{"peer": {"_": "file", "path": "a"}, "message": ""}`, CodeUnknownType, "params.peer._", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode(tt.method, []byte(tt.params))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Code != tt.code || e.Path != tt.path || !strings.Contains(e.Message, tt.says) {
				t.Errorf("got %s at %q: %s", e.Code, e.Path, e.Message)
			}
		})
	}
}

// TestTooDeep: a call may not be nested for ever.
func TestTooDeep(t *testing.T) {
	deep := strings.Repeat(`{"_": "inputPeerUserFromMessage", "msg_id": 1, "user_id": 1, "peer": `, maxDepth) + `"me"` + strings.Repeat("}", maxDepth)
	_, err := Decode("messages.getHistory", []byte(`{"peer": `+deep+`}`))
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeTooDeep {
		t.Errorf("got %v", err)
	}
}

// TestSet: a peer goes where it is wanted, as what is wanted.
func TestSet(t *testing.T) {
	user := &tg.InputPeerUser{UserID: 5, AccessHash: 6}
	channel := &tg.InputPeerChannel{ChannelID: 7, AccessHash: 8}
	tests := []struct {
		method, params string
		in             tg.InputPeerClass
		want           bin.Object // nil: refused
	}{
		{"messages.getHistory", `{"peer": "x"}`, channel, &tg.MessagesGetHistoryRequest{Peer: channel}},
		{"users.getUsers", `{"id": ["x"]}`, user, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUser{UserID: 5, AccessHash: 6}}}},
		{"users.getUsers", `{"id": ["x"]}`, &tg.InputPeerSelf{}, &tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserSelf{}}}},
		{"users.getUsers", `{"id": ["x"]}`, &tg.InputPeerUserFromMessage{Peer: channel, MsgID: 1, UserID: 2},
			&tg.UsersGetUsersRequest{ID: []tg.InputUserClass{&tg.InputUserFromMessage{Peer: channel, MsgID: 1, UserID: 2}}}},
		{"users.getUsers", `{"id": ["x"]}`, channel, nil},
		{"users.getUsers", `{"id": ["x"]}`, &tg.InputPeerChat{ChatID: 1}, nil},
		{"channels.getFullChannel", `{"channel": "x"}`, channel, &tg.ChannelsGetFullChannelRequest{Channel: &tg.InputChannel{ChannelID: 7, AccessHash: 8}}},
		{"channels.getFullChannel", `{"channel": "x"}`, &tg.InputPeerChannelFromMessage{Peer: user, MsgID: 1, ChannelID: 2},
			&tg.ChannelsGetFullChannelRequest{Channel: &tg.InputChannelFromMessage{Peer: user, MsgID: 1, ChannelID: 2}}},
		{"channels.getFullChannel", `{"channel": "x"}`, user, nil},
		{"channels.getFullChannel", `{"channel": "x"}`, &tg.InputPeerChat{ChatID: 1}, nil},
		{"account.getNotifySettings", `{"peer": "x"}`, user, &tg.AccountGetNotifySettingsRequest{Peer: &tg.InputNotifyPeer{Peer: user}}},
		{"messages.getPeerDialogs", `{"peers": ["x"]}`, user, &tg.MessagesGetPeerDialogsRequest{Peers: []tg.InputDialogPeerClass{&tg.InputDialogPeer{Peer: user}}}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %T", tt.method, tt.in), func(t *testing.T) {
			req, err := Decode(tt.method, []byte(tt.params))
			if err != nil {
				t.Fatal(err)
			}
			var e *Error
			err = req.Peers[0].Set(tt.in)
			switch {
			case tt.want == nil && (!errors.As(err, &e) || e.Code != CodeWrongKind || !strings.Contains(e.Message, `"x" is a`)):
				t.Errorf("got %v", err)
			case tt.want != nil && err != nil:
				t.Error(err)
			case tt.want != nil:
				if d := cmp.Diff(tt.want, req.Body); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// TestRandomize: each random_id that was not given gets its own, in order.
func TestRandomize(t *testing.T) {
	tests := []struct {
		method, params string
		want           bool // Random
		ids            []int64
	}{
		{"messages.sendMessage", `{"peer": "me", "message": "m"}`, true, []int64{1 << 40}},
		{"messages.sendMessage", `{"peer": "me", "message": "m", "random_id": "5"}`, true, nil},
		{"messages.forwardMessages", `{"from_peer": "me", "to_peer": "me", "id": [1, 2, 3]}`, true, []int64{1 << 40, 1<<40 + 1, 1<<40 + 2}},
		{"messages.sendMultiMedia", `{"peer": "me", "multi_media": [{"media": {"_": "inputMediaEmpty"}, "message": ""}, {"media": {"_": "inputMediaEmpty"}, "message": ""}]}`, true, []int64{1 << 40, 1<<40 + 1}},
		{"phone.requestCall", `{"user_id": "me", "g_a_hash": "", "protocol": {"min_layer": 1, "max_layer": 2, "library_versions": []}}`, true, []int64{0}}, // as many bits as it has
		{"messages.getHistory", `{"peer": "me"}`, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			req, err := Decode(tt.method, []byte(tt.params))
			if err != nil {
				t.Fatal(err)
			}
			req.Randomize(func(i int) int64 { return 1<<40 + int64(i) })
			var ids []int64
			for _, at := range req.randoms {
				ids = append(ids, at.Int())
			}
			if req.Random != tt.want || !cmp.Equal(ids, tt.ids) {
				t.Errorf("random: %v, ids %v", req.Random, ids)
			}
			encoded(t, req.Body)
		})
	}
}

// TestFiles: what a call has in place of a file.
func TestFiles(t *testing.T) {
	req, err := Decode("messages.sendMultiMedia", []byte(`{"peer": "me", "multi_media": [
		{"media": {"_": "file", "path": "a.jpg"}, "message": ""},
		{"media": {"_": "inputMediaUploadedDocument", "mime_type": "text/plain", "attributes": [], "file": {"_": "file", "base64": "aGk=", "name": "hi.txt"}}, "message": ""}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{At: "params.multi_media[0].media", Media: true, Album: true, Path: "a.jpg"},
		{At: "params.multi_media[1].media.file", Data: []byte("hi"), Name: "hi.txt"},
	}
	if d := cmp.Diff(want, req.Files, cmpopts.IgnoreUnexported(File{})); d != "" {
		t.Error(d)
	}
	photo, file := &tg.InputMediaPhoto{ID: &tg.InputPhoto{ID: 1}}, &tg.InputFileBig{ID: 2}
	req.Files[0].SetMedia(photo)
	req.Files[1].SetFile(file)
	media := req.Body.(*tg.MessagesSendMultiMediaRequest).MultiMedia
	if media[0].Media != tg.InputMediaClass(photo) || media[1].Media.(*tg.InputMediaUploadedDocument).File != tg.InputFileClass(file) {
		t.Errorf("got %v", media)
	}
}

// TestDoubles: JSON has no numbers for some of them.
func TestDoubles(t *testing.T) {
	for _, text := range []string{`"NaN"`, `"Infinity"`, `"-Infinity"`, `-0`, `1e400`, `"1"`, `1.5e-3`} {
		req, err := Decode("contacts.getLocated", fmt.Appendf(nil, `{"geo_point": {"_": "inputGeoPoint", "lat": %s, "long": 0}}`, text))
		if text == "1e400" || text == `"1"` {
			if err == nil {
				t.Errorf("%s is taken", text)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		lat := req.Body.(*tg.ContactsGetLocatedRequest).GeoPoint.(*tg.InputGeoPoint).Lat
		ok := map[string]bool{`"NaN"`: math.IsNaN(lat), `"Infinity"`: math.IsInf(lat, 1), `"-Infinity"`: math.IsInf(lat, -1),
			`-0`: lat == 0 && math.Signbit(lat), `1.5e-3`: lat == 0.0015}[text]
		if !ok {
			t.Errorf("%s is %v", text, lat)
		}
	}
}
