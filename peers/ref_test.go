package peers_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

func TestConstructorsRefuseWhatNoPeerHas(t *testing.T) {
	tests := map[string]peers.Ref{
		"user zero":           peers.UserRef(0),
		"negative chat":       peers.ChatRef(-1),
		"channel in the gap":  peers.ChannelRef(1_000_000_000_000),
		"secret chat":         peers.BotAPIRef(-2_000_000_000_000),
		"username with at":    peers.UsernameRef("@durov"),
		"empty username":      peers.UsernameRef(""),
		"phone with plus":     peers.PhoneRef("+7"),
		"empty phone":         peers.PhoneRef(""),
		"digits as invite":    peers.InviteRef("123"),
		"empty invite":        peers.InviteRef(""),
		"link as invite":      peers.InviteRef("t.me/+a"),
		"account with colon":  peers.UserRef(1).WithAccount("a:b"),
		"account with spaces": peers.UserRef(1).WithAccount(" "),
	}
	for name, ref := range tests {
		t.Run(name, func(t *testing.T) {
			if !ref.IsZero() || ref.String() != "" || ref.Form() != 0 || ref.Form().String() != "" {
				t.Errorf("got %q of form %q, want the zero Ref", ref, ref.Form())
			}
		})
	}
}

func TestAccessors(t *testing.T) {
	ref := peers.UserRef(12).WithAccessHash(34).WithAccount("alice")
	if got, want := ref.String(), "alice:u.12.AAAAAAAAACI"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if k, ok := ref.Key(); !ok || k != (peers.Key{Kind: peers.User, ID: 12}) {
		t.Errorf("Key() = %v, %v", k, ok)
	}
	if h, ok := ref.AccessHash(); !ok || h != 34 {
		t.Errorf("AccessHash() = %d, %v", h, ok)
	}
	if got := ref.Account(); got != "alice" {
		t.Errorf("Account() = %q", got)
	}
	if ref.Username() != "" || ref.Phone() != "" || ref.InviteHash() != "" || ref.Comment() != 0 {
		t.Error("a reference by id has no username, phone, invite hash or comment")
	}
	if got := ref.WithAccount("").WithAccessHash(0); got != peers.UserRef(12) {
		t.Errorf("without account and hash: %v", got)
	}
	if got := ref.Peer(); got != ref {
		t.Errorf("Peer() = %v, want itself", got)
	}
}

func TestOnlyIDsCarryAuthorization(t *testing.T) {
	for _, ref := range []peers.Ref{
		{}, peers.Self(), peers.UsernameRef("durov"), peers.PhoneRef("7999"), peers.InviteRef("AbCd"),
		parse(t, "t.me/durov/1"), parse(t, "t.me/c/1/2"),
	} {
		if got := ref.WithAccessHash(34).WithAccount("alice"); got != ref {
			t.Errorf("%v took an access hash or an account: %v", ref, got)
		}
		if k, ok := ref.Key(); ok || k != (peers.Key{}) {
			t.Errorf("%v has the key %v", ref, k)
		}
		if _, ok := ref.AccessHash(); ok {
			t.Errorf("%v has an access hash", ref)
		}
	}
}

func TestMessage(t *testing.T) {
	ref := parse(t, "t.me/durov/5/7?comment=9")
	msgID, threadID, ok := ref.Message()
	if !ok || msgID != 7 || threadID != 5 || ref.Comment() != 9 {
		t.Errorf("Message() = %d, %d, %v with comment %d; want 7, 5, true with 9", msgID, threadID, ok, ref.Comment())
	}
	if got := ref.Peer(); got != peers.UsernameRef("durov") {
		t.Errorf("Peer() = %v, want @durov", got)
	}
	if ref.Username() != "" {
		t.Error("the username is the peer's, not the message's")
	}
	if got := parse(t, "t.me/c/42/7").Peer(); got != peers.ChannelRef(42) {
		t.Errorf("Peer() = %v, want channel 42", got)
	}
	if _, _, ok := peers.ChannelRef(42).Message(); ok {
		t.Error("a channel is no message")
	}
}

func TestUsableBy(t *testing.T) {
	ref := peers.UserRef(12).WithAccessHash(34)
	if err := ref.UsableBy("bob"); err != nil {
		t.Errorf("a reference of nobody: %v", err)
	}
	ref = ref.WithAccount("alice")
	if err := ref.UsableBy("alice"); err != nil {
		t.Errorf("a reference of alice for alice: %v", err)
	}
	var other *peers.OtherAccountError
	if err := ref.UsableBy("bob"); !errors.As(err, &other) || other.Ref != ref || other.Account != "bob" {
		t.Fatalf("a reference of alice for bob: %v", err)
	}
	isOneSentence(t, other.Error())
	for _, want := range []string{"account alice", "account bob", "u.12."} {
		if !strings.Contains(other.Error(), want) {
			t.Errorf("error %q does not say %q", other, want)
		}
	}
	if strings.Contains(other.Error(), "AAAAAAAAACI") {
		t.Errorf("error %q tells the access hash", other)
	}
}

func TestExpect(t *testing.T) {
	tests := []struct {
		in   string
		want []peers.Kind
		got  peers.Kind // 0: fits
	}{
		{"u.12.0", []peers.Kind{peers.User}, 0},
		{"g.12.0", []peers.Kind{peers.Chat, peers.Channel}, 0},
		{"g.12.0", []peers.Kind{peers.User}, peers.Chat},
		{"-1000000000042", []peers.Kind{peers.User, peers.Chat}, peers.Channel},
		{"me", []peers.Kind{peers.User}, 0},
		{"me", []peers.Kind{peers.Channel}, peers.User},
		{"+7999", []peers.Kind{peers.Channel}, peers.User},
		{"t.me/c/1/2", []peers.Kind{peers.User}, peers.Channel},
		{"@durov", []peers.Kind{peers.Chat}, 0},
		{"t.me/durov/1", []peers.Kind{peers.Chat}, 0},
		{"t.me/+AbCd", []peers.Kind{peers.User}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			err := parse(t, tt.in).Expect(tt.want...)
			var wrong *peers.WrongKindError
			if !errors.As(err, &wrong) {
				if err != nil || tt.got != 0 {
					t.Fatalf("Expect(%v) = %v, want kind %v refused", tt.want, err, tt.got)
				}
				return
			}
			if wrong.Got != tt.got {
				t.Errorf("Expect(%v) refused %v, want %v", tt.want, wrong.Got, tt.got)
			}
			isOneSentence(t, err.Error())
			for _, k := range append(tt.want, tt.got) {
				if !strings.Contains(err.Error(), k.String()) {
					t.Errorf("error %q does not name %v", err, k)
				}
			}
		})
	}
}

func TestJSON(t *testing.T) {
	type job struct {
		To  peers.Ref `json:"to"`
		Via peers.Ref `json:"via,omitzero"`
	}
	tests := []struct{ in, want string }{
		{`{"to":"@Durov"}`, `{"to":"@durov"}`},
		{`{"to":"-1000000000042"}`, `{"to":"c.42.0"}`},
		{`{"to":-1000000000042}`, `{"to":"c.42.0"}`},
		{`{"to":"alice:u.12.AAAAAAAAACI","via":null}`, `{"to":"alice:u.12.AAAAAAAAACI"}`},
		{`{"to":"\u0064urov","via":42}`, `{"to":"@durov","via":"u.42.0"}`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var j job
			if err := json.Unmarshal([]byte(tt.in), &j); err != nil {
				t.Fatalf("unmarshal: %v", err)
			}
			got, err := json.Marshal(j)
			if err != nil || string(got) != tt.want {
				t.Errorf("marshal = %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestJSONErrors(t *testing.T) {
	for _, tt := range []struct{ in, code string }{
		{`1.5`, peers.CodeInvalidID}, {`42.0`, peers.CodeInvalidID}, {`1e3`, peers.CodeInvalidID}, {`-1E+12`, peers.CodeInvalidID},
		{`9007199254740993`, peers.CodeInvalidID}, {`-9223372036854775809`, peers.CodeInvalidID}, {`-0`, peers.CodeInvalidID},
		{`true`, peers.CodeInvalidRef},
		{`{"id":42}`, peers.CodeInvalidRef}, {`["@durov"]`, peers.CodeInvalidRef},
		{`0`, peers.CodeInvalidID}, {`""`, peers.CodeInvalidUsername},
	} {
		t.Run(tt.in, func(t *testing.T) {
			ref := peers.Self()
			var pe *peers.ParseError
			if err := json.Unmarshal([]byte(tt.in), &ref); !errors.As(err, &pe) || pe.Code != tt.code {
				t.Fatalf("unmarshal: %v, want code %s", err, tt.code)
			}
			isOneSentence(t, pe.Error())
			if ref != peers.Self() {
				t.Errorf("a failed unmarshal changed the reference to %v", ref)
			}
		})
	}
	if _, err := json.Marshal(peers.Ref{}); err == nil {
		t.Error("the zero Ref was marshalled")
	}
}

func TestDescribe(t *testing.T) {
	tests := []struct{ in, want string }{
		{"me", `{"input":"me","kind":"self"}`},
		{"@Durov", `{"input":"@Durov","kind":"username","username":"durov"}`},
		{"+7 999", `{"input":"+7 999","kind":"phone","phone":"7999"}`},
		{"42", `{"input":"42","kind":"user","id":42}`},
		{"-42", `{"input":"-42","kind":"chat","id":42}`},
		{"-1000000000042", `{"input":"-1000000000042","kind":"channel","id":42}`},
		{"u.12.AAAAAAAAACI", `{"input":"u.12.AAAAAAAAACI","kind":"user","id":12,"access_hash":"34"}`},
		{"alice:c.12.__________8", `{"input":"alice:c.12.__________8","kind":"channel","id":12,"access_hash":"-1"}`},
		{"t.me/+AbCd", `{"input":"t.me/+AbCd","kind":"invite","hash":"AbCd"}`},
		{"t.me/durov/7", `{"input":"t.me/durov/7","kind":"message","msg_id":7,"peer":{"kind":"username","username":"durov"}}`},
		{"t.me/c/42/5/7", `{"input":"t.me/c/42/5/7","kind":"message","msg_id":7,"thread_id":5,"peer":{"kind":"channel","id":42}}`},
		{"0", `{"input":"0","error":{"code":"invalid_id","message":"peer \"0\" is outside the ranges of Bot API ids; users are 1 to 1099511627775, basic groups -1 to -999999999999, channels and supergroups -1000000000000 minus their id"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := json.Marshal(peers.Describe(tt.in))
			if err != nil || string(got) != tt.want {
				t.Errorf("Describe(%q) is\n%s, %v; want\n%s", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestGeneratedRefsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := genRef.Draw(t, "ref")
		if ref.IsZero() {
			t.Fatal("the generator made a zero Ref")
		}
		checkRoundTrip(t, ref)
	})
}

// checkRoundTrip checks the promises of String, text and JSON for any valid ref.
func checkRoundTrip(t fataler, ref peers.Ref) {
	t.Helper()
	s := ref.String()
	again, err := peers.Parse(s)
	if err != nil || again != ref {
		t.Fatalf("Parse(%q) = %#v, %v; want %#v", s, again, err, ref)
	}
	if again.String() != s {
		t.Fatalf("%q becomes %q", s, again.String())
	}
	text, err := json.Marshal(ref)
	if err != nil {
		t.Fatalf("marshal %q: %v", s, err)
	}
	var fromJSON peers.Ref
	if err := json.Unmarshal(text, &fromJSON); err != nil || fromJSON != ref {
		t.Fatalf("unmarshal %s = %v, %v; want %v", text, fromJSON, err, ref)
	}
	if ref.Peer().IsZero() || ref.Describe().Kind != ref.Form().String() {
		t.Fatalf("%q: peer %v, description %+v", s, ref.Peer(), ref.Describe())
	}
}

var (
	genUsername = rapid.StringMatching(`[A-Za-z](_?[A-Za-z0-9]){0,15}[0-9]?`) // up to 32
	genAccount  = rapid.StringMatching(`[A-Za-z0-9+][A-Za-z0-9._@+-]{0,63}`)
	genMessage  = rapid.Int32Range(1, 1<<31-1)
)

// genRef draws a valid reference of any form.
var genRef = rapid.Custom(func(t *rapid.T) peers.Ref {
	switch rapid.SampledFrom([]string{"self", "username", "phone", "id", "invite", "message"}).Draw(t, "form") {
	case "self":
		return peers.Self()
	case "username":
		return peers.UsernameRef(genUsername.Draw(t, "username"))
	case "phone":
		return peers.PhoneRef(rapid.StringMatching(`[0-9]{1,32}`).Draw(t, "phone"))
	case "invite":
		return peers.InviteRef(rapid.StringMatching(`[A-Za-z0-9_-]{0,24}[A-Za-z_-]`).Draw(t, "invite"))
	case "id":
		ref := genKey.Draw(t, "key").Ref().WithAccessHash(rapid.Int64().Draw(t, "hash"))
		return ref.WithAccount(accounts.ID(rapid.OneOf(rapid.Just(""), genAccount).Draw(t, "account")))
	default:
		return genMessageRef(t)
	}
})

func genMessageRef(t *rapid.T) peers.Ref {
	args := map[string]any{
		"domain":  genUsername.Draw(t, "domain"),
		"channel": genChannelID.Draw(t, "channel"),
		"post":    genMessage.Draw(t, "post"),
	}
	for _, name := range []string{"thread", "comment"} {
		if rapid.Bool().Draw(t, "has "+name) {
			args[name] = genMessage.Draw(t, name)
		}
	}
	return parse(t, rapid.SampledFrom([]string{"tg:resolve", "tg:privatepost"}).Draw(t, "action")+"?"+encode(args))
}
