package tgsim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/mt"
	"github.com/gotd/td/proto"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/tg"

	"github.com/tgswitchboard/switchboard/internal/tgsim"
)

// getState is a call that is always legal to make.
var getState = &tg.UpdatesGetStateRequest{}

// Pages of core.telegram.org that rules stand on.
const (
	pageDescription = "mtproto/description"
	pageService     = "mtproto/service_messages"
	pageMessages    = "mtproto/service_messages_about_messages"
	pageTransports  = "mtproto/mtproto-transports"
	pageSecurity    = "mtproto/security_guidelines"
	pageAuthKey     = "mtproto/auth_key"
	pageTL          = "mtproto/TL"
)

// rule is a rule of MTProto with a frame that breaks it by as little as
// possible, and the nearest frame that does not.
type rule struct {
	name  string
	page  string // where the rule stands
	want  string // the refusal: its kind and code
	about string // part of Violation.Rule, or "closed: " and the reason; "" = it is no violation
	bad   func(t *testing.T, r *rawClient) (id int64)
	legal func(t *testing.T, r *rawClient)
}

// Kinds of refusals; the first two name a message.
const (
	badMessage = "bad_msg_notification"
	staleSalt  = "bad_server_salt 48"
	transport4 = "transport error -404"
	hangUp     = "connection closed"
)

// refusal reads what the server says to a frame that broke a rule, and the
// msg_id it names.
func (r *rawClient) refusal() (got string, id int64) {
	r.t.Helper()
	for {
		m, err := r.next()
		var pe *codec.ProtocolErr
		switch {
		case errors.As(err, &pe):
			return fmt.Sprintf("transport error -%d", pe.Code), 0
		case err != nil:
			return hangUp, 0
		}
		var bad mt.BadMsgNotification
		var salt mt.BadServerSalt
		switch typeID, _ := (&bin.Buffer{Buf: m.Body}).PeekID(); {
		case typeID == mt.MsgsAckTypeID:
			continue
		case bad.Decode(&bin.Buffer{Buf: m.Body}) == nil:
			return fmt.Sprintf("%s %d", badMessage, bad.ErrorCode), bad.BadMsgID
		case salt.Decode(&bin.Buffer{Buf: m.Body}) == nil:
			return fmt.Sprintf("bad_server_salt %d", salt.ErrorCode), salt.BadMsgID
		default:
			return fmt.Sprintf("message %x", typeID), m.ID
		}
	}
}

// renew begins a session on the connection.
func (r *rawClient) renew() {
	r.session = sessionIDs.Add(1)
	r.last, r.content, r.seen = 0, 0, 0
}

// TestRules sends each illegal frame and its legal neighbour, and prints what
// was answered.
func TestRules(t *testing.T) {
	t.Parallel()
	all := rules()
	answers := make([]string, len(all))
	t.Cleanup(func() { // the subtests are done
		var table strings.Builder
		w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "rule\texpected\tgot\tsource: core.telegram.org/")
		for i, x := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", x.name, x.want, answers[i], x.page)
		}
		_ = w.Flush() // into memory
		t.Log("\n" + table.String())
	})
	for i, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := setup(t, tgsim.Config{})
			_, sess := user(t, srv, "ann")
			tt.legal(t, rawConnect(t, srv, sess))
			quiet(t, srv)
			if t.Failed() {
				t.Fatal("the legal frame was not accepted")
			}
			srv.ResetRecord()

			r := rawConnect(t, srv, sess)
			bad := tt.bad(t, r)
			ranBefore := len(srv.Calls(tgsim.Filter{}))
			got, id := r.refusal()
			answers[i] = got
			if got != tt.want || id != bad {
				t.Errorf("%s for %d, want %s for %d (core.telegram.org/%s)", got, id, tt.want, bad, tt.page)
			}
			st := srv.Stats()
			reason, closed := strings.CutPrefix(tt.about, "closed: ")
			switch {
			case closed && (st.Violations != 0 || st.Closes[reason] != 1):
				t.Errorf("violations %+v, closes %v", st.Violation, st.Closes)
			case closed:
			case tt.about == "" && st.Violations != 0:
				t.Errorf("violations %+v, want none", st.Violation)
			case tt.about != "" && (st.Violations != 1 || !strings.Contains(st.Violation[0].Rule, tt.about)):
				t.Errorf("violations %+v, want one about %q", st.Violation, tt.about)
			}
			if n := len(srv.Calls(tgsim.Filter{})); n != ranBefore {
				t.Errorf("%d calls of the illegal frame ran", n-ranBefore)
			}
			if got == hangUp {
				return
			}
			// A fresh session on the same connection goes on working.
			r.renew()
			last := r.call(getState)
			r.take(&mt.NewSessionCreated{})
			r.result(last, &tg.UpdatesState{})
		})
	}
}

// seal encrypts a message by hand. n is the length that it claims, random gives
// the padding.
func (r *rawClient) seal(n int32, data []byte, random interface{ Read([]byte) (int, error) }) []byte {
	r.t.Helper()
	var b bin.Buffer
	err := crypto.NewClientCipher(random).Encrypt(r.key, crypto.EncryptedMessageData{
		Salt: r.salt, SessionID: r.session, MessageID: r.newID(), SeqNo: r.odd(),
		MessageDataLen: n, MessageDataWithPadding: data,
	}, &b)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Buf
}

// zeroRand makes the cipher's padding the least possible.
type zeroRand struct{}

func (zeroRand) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// flood makes the server remember n messages that need no answer.
func (r *rawClient) flood(n int) {
	r.t.Helper()
	body := encode(r.t, &mt.MsgsAck{MsgIDs: []int64{1}})
	for n > 0 {
		var ms []proto.Message
		for range min(n, 1020) {
			ms = append(ms, proto.Message{ID: r.newID(), SeqNo: int(r.even()), Bytes: len(body), Body: body})
		}
		r.container(ms...)
		n -= len(ms)
	}
}
