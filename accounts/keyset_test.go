package accounts_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/tgswitchboard/switchboard/accounts"
)

func TestKeysetChanges(t *testing.T) {
	t.Parallel()
	one := newKeys(t)
	if len(one.IDs()) != 1 {
		t.Fatalf("a new keyset has %s", one.IDs())
	}
	first := one.IDs()[0]
	two, added, err := one.Add()
	if err != nil || !slices.Equal(two.IDs(), accounts.KeyIDs{first, added}) || added == first {
		t.Fatalf("added %d: %s, %v", added, two.IDs(), err)
	}
	if !slices.Equal(one.IDs(), accounts.KeyIDs{first}) {
		t.Errorf("the keyset that was added to has %s now", one.IDs())
	}
	promoted, err := two.Promote(added)
	if err != nil || !slices.Equal(promoted.IDs(), accounts.KeyIDs{added, first}) {
		t.Fatalf("promoted: %s, %v", promoted.IDs(), err)
	}
	data, err := promoted.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := accounts.ParseKeyset(data)
	if err != nil || !slices.Equal(again.IDs(), promoted.IDs()) {
		t.Errorf("written and read: %s, %v", again.IDs(), err)
	}
	less, err := again.Remove(first)
	if err != nil || !slices.Equal(less.IDs(), accounts.KeyIDs{added}) {
		t.Errorf("removed: %s, %v", less.IDs(), err)
	}
	for what, err := range map[string]error{
		"remove the one that seals": second(less.Remove(added)),
		"remove what is not there":  second(less.Remove(first)),
		"promote what is not there": second(less.Promote(first)),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for _, shown := range []string{fmt.Sprint(promoted), fmt.Sprintf("%v %+v %#v", promoted, promoted, promoted)} {
		if strings.Contains(shown, fmt.Sprint(added)) || !strings.Contains(shown, "[keyset]") {
			t.Errorf("the keyset prints itself: %s", shown)
		}
	}
}

func second(_ accounts.Keyset, err error) error { return err }

func TestParseKeysetRefuses(t *testing.T) {
	t.Parallel()
	write := func(template *tinkpb.KeyTemplate) []byte {
		h, err := keyset.NewHandle(template)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "not a Tink keyset"},
		{"no JSON", []byte("hello"), "not a Tink keyset"},
		{"JSON of something else", []byte(`{"a":1}`), "not a Tink keyset"},
		{"keys of another kind", write(mac.HMACSHA256Tag256KeyTemplate()), "not an AEAD keyset"},
		{"keys that do not write their ids", write(aead.AES256GCMNoPrefixKeyTemplate()), "output prefix RAW"},
	} {
		if _, err := accounts.ParseKeyset(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// FuzzParseKeyset: whatever a key file holds, it is refused or a keyset that can be
// written and read again.
func FuzzParseKeyset(f *testing.F) {
	data, err := accounts.NewKeyset()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"encryptedKeyset":"AAAA","keysetInfo":{"primaryKeyId":1}}`))
	f.Add([]byte(`{"primaryKeyId":1,"key":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := accounts.ParseKeyset(data)
		if err != nil {
			return
		}
		if len(keys.IDs()) == 0 {
			t.Error("a keyset without a key")
		}
		out, err := keys.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := accounts.ParseKeyset(out)
		if err != nil || !slices.Equal(again.IDs(), keys.IDs()) {
			t.Errorf("%s was read as %s, %v", keys.IDs(), again.IDs(), err)
		}
	})
}

func TestKeyIDs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ids         accounts.KeyIDs
		text, shown string
	}{
		{nil, "", "no key"},
		{accounts.KeyIDs{7}, "7", "7 (which seals)"},
		{accounts.KeyIDs{7, 8, 4294967295}, "7,8,4294967295", "7 (which seals), 8, 4294967295"},
	} {
		if got := tt.ids.Text(); got != tt.text {
			t.Errorf("Text = %q, want %q", got, tt.text)
		}
		if got := tt.ids.String(); got != tt.shown {
			t.Errorf("String = %q, want %q", got, tt.shown)
		}
		if got, err := accounts.ParseKeyIDs(tt.text); err != nil || !slices.Equal(got, tt.ids) {
			t.Errorf("ParseKeyIDs(%q) = %v, %v", tt.text, got, err)
		}
	}
	for _, bad := range []string{"x", "1,", "4294967296", "-1", "1 2"} {
		if ids, err := accounts.ParseKeyIDs(bad); err == nil {
			t.Errorf("ParseKeyIDs(%q) = %v", bad, ids)
		}
	}
}
