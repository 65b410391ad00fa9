package tgsim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gotd/td/crypto"
)

func TestTempKeyExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{keys: map[[8]byte]*authKey{}}
		k := newAuthKey(crypto.Key{1}.WithID(), 1, time.Now())
		k.expires = time.Now().Add(time.Minute)
		s.addKey(k)
		if s.findKey(k.key.ID) != k {
			t.Error("the key is unknown before its time is over")
		}
		<-time.After(time.Minute)
		if s.findKey(k.key.ID) != nil || len(s.keys) != 0 {
			t.Error("the key is known after its time")
		}
	})
}

func TestLoginCodeExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{world: newWorld()}
		out, failed := s.newCode("15550100", 0)
		if failed != nil {
			t.Fatal(failed.text)
		}
		if _, ok := s.LoginCode("+1 555 0100"); !ok {
			t.Errorf("no code after %+v", out)
		}
		<-time.After(codeLife)
		if _, ok := s.LoginCode("15550100"); ok {
			t.Error("the code works after its time")
		}
	})
}
