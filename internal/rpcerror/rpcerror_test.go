package rpcerror

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/names.tsv and the table of docs/errors.md anew")

// wire is a name as Telegram sends it, of a pattern.
func wire(pattern string) string {
	return strings.ReplaceAll(strings.ReplaceAll(pattern, "%d", "7"), "*", "7_ANYTHING")
}

func TestWireStrings(t *testing.T) {
	const s = time.Second
	tests := []struct {
		code  int
		name  string
		class Class
		wait  time.Duration
		dc    int
		began bool
	}{
		// Pauses: rounded up to a second, no longer than is believed.
		{420, "FLOOD_WAIT_3", Flood, 3 * s, 0, false},
		{420, "FLOOD_WAIT_0", Flood, s, 0, false},
		{420, "FLOOD_WAIT_1209601", Flood, MaxWait, 0, false},
		{420, "FLOOD_WAIT_99999999999999999999999", Flood, MaxWait, 0, false},
		{400, "FLOOD_WAIT_5", Flood, 5 * s, 0, false},
		{420, "2FA_CONFIRM_WAIT_604800", Flood, 7 * 24 * time.Hour, 0, false},
		{420, "TAKEOUT_INIT_DELAY_86400", Flood, 24 * time.Hour, 0, false},
		{420, "FLOOD_TEST_PHONE_WAIT_30", Flood, 30 * s, 0, false},
		{420, "SOME_NEW_WAIT_4", Flood, 4 * s, 0, false},
		{420, "SLOWMODE_WAIT_60", Slowmode, 60 * s, 0, false},
		{420, "FLOOD_PREMIUM_WAIT_8", Transfers, 8 * s, 0, false},

		// Numbers that are none.
		{400, "STORY_SEND_FLOOD_WEEKLY_1700000000", Fail, 0, 0, false},
		{400, "STORY_SEND_FLOOD_MONTHLY_86400", Fail, 0, 0, false},
		{420, "PREMIUM_SUB_ACTIVE_UNTIL_1703345751", Fail, 0, 0, false},
		{406, "PREVIOUS_CHAT_IMPORT_ACTIVE_WAIT_5MIN", Fail, 0, 0, false},
		{400, "SESSION_TOO_FRESH_3600", Fail, 0, 0, false},
		{400, "SOME_NEW_WAIT_4", Fail, 0, 0, false},
		{420, "SOMETHING_NEW", Fail, 0, 0, false},
		{420, "SOMETHING_NEW_9", Fail, 0, 0, false},
		{420, "FROZEN_METHOD_INVALID", Freeze, 0, 0, false},
		{400, "FROZEN_PARTICIPANT_MISSING", Freeze, 0, 0, false},
		{400, "FILE_REFERENCE_3_EXPIRED", StaleFile, 0, 0, false},
		{400, "FILE_REFERENCE_EXPIRED", StaleFile, 0, 0, false},
		{400, "FILE_REFERENCE_0_INVALID", StaleFile, 0, 0, false},
		{403, "ALLOW_PAYMENT_REQUIRED_250", Payment, 0, 0, false},
		{406, "ALLOW_PAYMENT_REQUIRED", Payment, 0, 0, false},

		{303, "FILE_MIGRATE_4", Elsewhere, 0, 4, false},
		{303, "STATS_MIGRATE_1", Elsewhere, 0, 1, false},
		{303, "USER_MIGRATE_5", Onboarding, 0, 0, false},
		{303, "PHONE_MIGRATE_5", Onboarding, 0, 0, false},
		{303, "NETWORK_MIGRATE_5", Onboarding, 0, 0, false},
		{303, "SOMETHING_MIGRATE_5", Fail, 0, 0, false},

		// Names count before codes.
		{400, "RANDOM_ID_DUPLICATE", Duplicate, 0, 0, false},
		{500, "RANDOM_ID_DUPLICATE", Duplicate, 0, 0, true},
		{400, "MSG_WAIT_FAILED", NotRun, 0, 0, false},
		{500, "MSG_WAIT_FAILED", NotRun, 0, 0, false},
		{503, "MSG_WAIT_TIMEOUT", NotRun, 0, 0, false},
		{500, "AUTH_RESTART", Onboarding, 0, 0, true},
		{500, "INTERDC_2_CALL_RICH_ERROR", Trouble, 0, 0, true},
		{400, "RPC_CALL_FAIL", Trouble, 0, 0, true},
		{-503, "Timeout", Trouble, 0, 0, true},
		{-503, "", Trouble, 0, 0, true},
		{500, "SOMETHING_NEW", Trouble, 0, 0, true},

		// Nothing that is not known says anything of the account.
		{401, "SOMETHING_NEW", Fail, 0, 0, false},
		{401, "ACTIVE_USER_REQUIRED", Fail, 0, 0, false},
		{401, "SESSION_PASSWORD_NEEDED", Onboarding, 0, 0, false},
		{401, "AUTH_KEY_UNREGISTERED", Login, 0, 0, false},
		{401, "AUTH_KEY_PERM_EMPTY", Unbound, 0, 0, false},
		{406, "AUTH_KEY_DUPLICATED", KeyTwice, 0, 0, false},
		{401, "USER_DEACTIVATED_BAN", Ban, 0, 0, false},
		{400, "INPUT_USER_DEACTIVATED", Gone, 0, 0, false},
		{406, "USER_RESTRICTED", Restrict, 0, 0, false},
		{400, "PEER_FLOOD", Restrict, 0, 0, false},
		{400, "PHONE_NUMBER_FLOOD", Onboarding, 0, 0, false},
		{406, "PHONE_PASSWORD_FLOOD", Onboarding, 0, 0, false},
		{403, "PEER_ID_INVALID", Address, 0, 0, false},
		{404, "METHOD_INVALID", Fail, 0, 0, false},
		{0, "", Fail, 0, 0, false},
	}
	for _, tt := range tests {
		v := Classify(tt.code, tt.name)
		if v.Class != tt.class || v.Wait != tt.wait || v.DC != tt.dc || v.Began != tt.began {
			t.Errorf("Classify(%d, %q) = %+v; want class %s, wait %v, data center %d, began %v", tt.code, tt.name, v, tt.class, tt.wait, tt.dc, tt.began)
		}
	}
}

// Every row is what becomes of a name of its pattern, whatever the code.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		if r.class.Act() == "" || r.says == "" || seen[r.pattern] {
			t.Errorf("%s: class %q has no act, or nothing is said, or it stands twice", r.pattern, r.class)
		}
		seen[r.pattern] = true
		for _, code := range []int{303, 400, 401, 403, 406, 420, 500, -503} {
			if v := Classify(code, wire(r.pattern)); v.Row != r.pattern || v.Class != r.class || v.Says != r.says || v.About != r.about {
				t.Errorf("Classify(%d, %q) = %+v; want row %+v", code, wire(r.pattern), v, r)
			}
		}
		for _, p := range table {
			if begin, ok := strings.CutSuffix(p.pattern, "*"); ok && p != r && strings.HasPrefix(r.pattern, begin) {
				t.Errorf("%s and %s match one name", p.pattern, r.pattern)
			}
		}
	}
	for class, act := range acts {
		if (act == Wait) != (Classify(420, wireOf(class)).Wait > 0) {
			t.Errorf("class %s has act %s, and %q a wait of %v", class, act, wireOf(class), Classify(420, wireOf(class)).Wait)
		}
	}
}

// wireOf is a name of a class.
func wireOf(c Class) string {
	for _, r := range table {
		if r.class == c {
			return wire(r.pattern)
		}
	}
	return ""
}

// listed is a line of testdata/names.tsv.
type listed struct {
	code        int
	name, class string
}

func readNames(t *testing.T) (names []listed, lines []string) {
	t.Helper()
	f, err := os.Open("testdata/names.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
		if s.Text() == "" || s.Text()[0] == '#' {
			continue
		}
		fields := strings.Split(s.Text(), "\t")
		code, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) != 3 {
			t.Fatalf("line %q", s.Text())
		}
		names = append(names, listed{code, fields[1], fields[2]})
	}
	if len(names) < 700 {
		t.Fatalf("%d names", len(names))
	}
	return names, lines
}

// Every name that is published has the class that is written down.
func TestPublishedNames(t *testing.T) {
	names, lines := readNames(t)
	known := map[string]bool{}
	for _, n := range names {
		v := Classify(n.code, wire(n.name))
		known[v.Row] = true
		if *update {
			for i, line := range lines {
				if strings.HasPrefix(line, fmt.Sprintf("%d\t%s\t", n.code, n.name)) {
					lines[i] = fmt.Sprintf("%d\t%s\t%s", n.code, n.name, v.Class)
				}
			}
		} else if string(v.Class) != n.class {
			t.Errorf("%d %s has class %s, %s is written down (go test ./internal/rpcerror -update)", n.code, n.name, v.Class, n.class)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/names.tsv", []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range table {
		if !known[r.pattern] {
			t.Errorf("no published name matches %s", r.pattern)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, r := range table {
		f.Add(400, wire(r.pattern))
	}
	for _, s := range []string{"", "_", "FLOOD_WAIT_", "FLOOD_WAIT_-3", "FLOOD_WAIT_00", "FLOOD_WAIT_٣", "9_9", "FLOOD_WAIT_18446744073709551617"} {
		f.Add(420, s)
		f.Add(-503, s)
	}
	f.Fuzz(func(t *testing.T, code int, name string) {
		v := Classify(code, name)
		if v.Act() == "" {
			t.Errorf("%+v has no act", v)
		}
		if (v.Act() == Wait) != (v.Wait != 0) || v.Wait != 0 && (v.Wait < time.Second || v.Wait > MaxWait || v.Wait%time.Second != 0) {
			t.Errorf("%+v: wait", v)
		}
		if v.DC < 0 || v.Class != Elsewhere && v.DC != 0 {
			t.Errorf("%+v: data center", v)
		}
		if v.Row == "" && v.Act() == Park {
			t.Errorf("%+v: an unknown name says something of the account", v)
		}
	})
}
