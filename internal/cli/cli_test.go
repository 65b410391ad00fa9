package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// values are what the program under test was configured with.
type values struct {
	Capacity int
	Idle     time.Duration
	Name     string
	APIID    int
	DCs      []string
	Tags     []string
	Dry      bool
	Mode     string
}

// run runs a small program: "work" reads flags, "group sub" prints, "fail" returns err.
func run(t *testing.T, env map[string]string, err error, args ...string) (v values, stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &Env{Getenv: func(k string) string { return env[k] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	root := &cobra.Command{Use: "prog", Short: "a program"}

	work := &cobra.Command{Use: "work", Args: Args(), RunE: func(*cobra.Command, []string) error { return nil }}
	fs := work.Flags()
	fs.IntVar(&v.Capacity, "capacity", 100, "")
	fs.DurationVar(&v.Idle, "idle-after", time.Minute, "")
	fs.StringVar(&v.Name, "name", "", "")
	fs.IntVar(&v.APIID, "telegram.api-id", 0, "")
	fs.StringArrayVar(&v.DCs, "telegram.dc", nil, "")
	fs.StringSliceVar(&v.Tags, "tags", nil, "")
	fs.BoolVar(&v.Dry, "dry", false, "")
	ChoiceVar(fs, &v.Mode, "mode", "a", "mode", "a", "b")

	group := &cobra.Command{Use: "group"}
	sub := &cobra.Command{Use: "sub ID [JSON]", Args: Args("ID", "[JSON]"), RunE: func(_ *cobra.Command, args []string) error {
		if e.Out.JSON {
			return e.Out.Object(map[string]string{"id": args[0]})
		}
		table := e.Out.Table("ID", "JSON")
		table.Row(append(args, "")[:2]...)
		return table.Flush()
	}}
	sub.Flags().String("must", "", "")
	_ = sub.MarkFlagRequired("must")
	sub.Flags().Duration("wait", 0, "")
	sub.Flags().Lookup("wait").NoOptDefVal = "30s"
	group.AddCommand(sub)
	fail := &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return err }}
	logs := &cobra.Command{Use: "log", RunE: func(*cobra.Command, []string) error {
		e.Log.Debug("d")
		e.Log.Info("i", "account", "alice")
		return nil
	}}
	root.AddCommand(work, group, fail, logs)
	code = Main(t.Context(), e, root, args)
	return v, out.String(), errs.String(), code
}

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigurePrecedence(t *testing.T) {
	t.Parallel()
	defaults := values{Capacity: 100, Idle: time.Minute, Mode: "a"}
	with := func(f func(*values)) values { v := defaults; f(&v); return v }
	const all = "capacity: 1\nidle-after: 5m\nname: file\nmode: b\ndry: true\ntelegram:\n  api-id: 123456789\n" +
		"  dc:\n    2: 127.0.0.1:1\ntags: [x, \"y,z\"]\n"
	tests := []struct {
		name string
		file string
		env  map[string]string
		args []string
		want values
	}{
		{"defaults", "", nil, nil, defaults},
		{"file", all, nil, nil, values{1, 5 * time.Minute, "file", 123456789, []string{"2=127.0.0.1:1"}, []string{"x", "y,z"}, true, "b"}},
		{"dotted key in file", "telegram.api-id: 7\ntelegram.dc: [2=h:1, 3=h:2]", nil, nil,
			with(func(v *values) { v.APIID, v.DCs = 7, []string{"2=h:1", "3=h:2"} })},
		{"environment over file", all, map[string]string{"SWITCHBOARD_CAPACITY": "2", "SWITCHBOARD_TELEGRAM_API_ID": "8",
			"SWITCHBOARD_TAGS": "p,q", "SWITCHBOARD_TELEGRAM_DC": "1=a:1,2=b:2", "SWITCHBOARD_DRY": "false", "SWITCHBOARD_MODE": "a"}, nil,
			values{2, 5 * time.Minute, "file", 8, []string{"1=a:1", "2=b:2"}, []string{"p", "q"}, false, "a"}},
		{"flag over environment and file", all, map[string]string{"SWITCHBOARD_CAPACITY": "2", "SWITCHBOARD_NAME": "env", "SWITCHBOARD_MODE": "b"},
			[]string{"--capacity=3", "--name=", "--mode", "a", "--dry=false", "--tags", "t", "--idle-after=1s", "--telegram.api-id=9", "--telegram.dc", "4=c:3"},
			values{3, time.Second, "", 9, []string{"4=c:3"}, []string{"t"}, false, "a"}},
		{"empty variable is not set", "name: file", map[string]string{"SWITCHBOARD_NAME": ""}, nil, with(func(v *values) { v.Name = "file" })},
		{"key of another command", "must: x\nname: n", nil, nil, with(func(v *values) { v.Name = "n" })},
		{"empty file", "# nothing\n", nil, nil, defaults},
		{"string that looks like a number from the environment", "", map[string]string{"SWITCHBOARD_NAME": "+4917"}, nil,
			with(func(v *values) { v.Name = "+4917" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"work"}, tt.args...)
			if tt.file != "" {
				args = append(args, "--config", yamlFile(t, tt.file))
			}
			got, stdout, stderr, code := run(t, tt.env, nil, args...)
			if code != ExitOK || stdout != "" || stderr != "" {
				t.Fatalf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	t.Parallel()
	got, _, stderr, code := run(t, map[string]string{"SWITCHBOARD_CONFIG": yamlFile(t, "capacity: 5")}, nil, "work")
	if code != ExitOK || got.Capacity != 5 {
		t.Errorf("exit %d, capacity %d, %s", code, got.Capacity, stderr)
	}
	_, stdout, _, code := run(t, map[string]string{"SWITCHBOARD_JSON": "true", "SWITCHBOARD_MUST": "x"}, nil, "group", "sub", "1")
	if code != ExitOK || stdout != "{\"id\":\"1\"}\n" {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	const seeWork, seeSub = "see 'prog work --help'\n", "see 'prog group sub --help'\n"
	tests := []struct {
		name string
		file string // %s in want
		env  map[string]string
		args string
		want string
	}{
		{"unknown flag", "", nil, "work --nope", "prog: there is no flag --nope\n" + seeWork},
		{"bad flag value", "", nil, "work --capacity abc", "prog: --capacity=abc: give a whole number\n" + seeWork},
		{"bad duration", "", nil, "work --idle-after 5", "prog: --idle-after=5: give a duration such as 30s, 5m or 1h30m\n" + seeWork},
		{"bad choice", "", nil, "work --mode c", "prog: --mode=c: give one of a, b\n" + seeWork},
		{"bad log level", "", nil, "work --log-level=loud", "prog: --log-level=loud: give one of debug, info, warn, error\n" + seeWork},
		{"flag without value", "", nil, "work --capacity", "prog: --capacity needs a value\n" + seeWork},
		{"bad environment", "", map[string]string{"SWITCHBOARD_CAPACITY": "abc"}, "work", "prog: SWITCHBOARD_CAPACITY=abc: give a whole number\n" + seeWork},
		{"bad boolean", "", map[string]string{"SWITCHBOARD_DRY": "maybe"}, "work", "prog: SWITCHBOARD_DRY=maybe: give true or false\n" + seeWork},
		{"bad file value", "capacity: abc", nil, "work", "prog: %s: capacity=abc: give a whole number\n" + seeWork},
		{"unknown key", "capacty: 1", nil, "work", "prog: %s: no flag is called \"capacty\"\n" + seeWork},
		{"unknown nested key", "telegram: {dcs: 1}", nil, "work", "prog: %s: no flag is called \"telegram.dcs\"\n" + seeWork},
		{"help is no setting", "help: true", nil, "work", "prog: %s: no flag is called \"help\"\n" + seeWork},
		{"number for text", "name: 0042", nil, "work", "prog: %s: name takes text; write it in quotes\n" + seeWork},
		{"list for one", "capacity: [1, 2]", nil, "work", "prog: %s: capacity takes one value, not a list\n" + seeWork},
		{"no value", "capacity:", nil, "work", "prog: %s: capacity has no value\n" + seeWork},
		{"map for one", "capacity: {a: 1}", nil, "work", "prog: %s: no flag is called \"capacity.a\"\n" + seeWork},
		{"missing file", "", nil, "work --config /nowhere/c.yaml", "prog: --config /nowhere/c.yaml: no such file or directory\n" + seeWork},
		{"unknown command", "", nil, "wrok", "prog: there is no command \"wrok\"; did you mean work?\nsee 'prog --help'\n"},
		{"unknown command of a group", "", nil, "group subb", "prog: there is no command \"subb\"; did you mean sub?\nsee 'prog group --help'\n"},
		{"unlike any command", "", nil, "group xxxxxx", "prog: there is no command \"xxxxxx\"\nsee 'prog group --help'\n"},
		{"too few arguments", "", nil, "group sub", "prog: group sub needs ID\n" + seeSub},
		{"too many arguments", "", nil, "group sub 1 2 3", "prog: there is one argument too many: \"3\"\n" + seeSub},
		{"duration after a space", "", nil, "group sub 1 2 --wait 30s", "prog: write --wait=30s: with a space, 30s is an argument of its own\n" + seeSub},
		{"missing flag", "", nil, "group sub 1", "prog: --must is missing\n" + seeSub},
		{"control characters", "", nil, "work --na\x1b[2Jme", "prog: there is no flag --na\\x1b[2Jme\n" + seeWork},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args, want := strings.Fields(tt.args), tt.want
			if tt.file != "" {
				path := yamlFile(t, tt.file)
				args, want = append(args, "--config", path), fmt.Sprintf(tt.want, path)
			}
			_, stdout, stderr, code := run(t, tt.env, nil, args...)
			if code != ExitUsage || stderr != want || stdout != "" {
				t.Errorf("exit %d, stdout %q, stderr\n%swant\n%s", code, stdout, stderr, want)
			}
		})
	}
}

func TestConfigNotYAML(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a: b: c", "- just\n- a list", "\tx", "{"} {
		_, _, stderr, code := run(t, nil, nil, "work", "--config", yamlFile(t, text))
		if code != ExitUsage || !strings.Contains(stderr, "the file is not YAML with flags as keys: ") || strings.Count(stderr, "\n") != 2 {
			t.Errorf("%q: exit %d, %s", text, code, stderr)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		code   int
		stderr string
	}{
		{"ok", nil, 0, ""},
		{"plain", errors.New("it broke"), 1, "prog: it broke\n"},
		{"several lines", errors.New("it broke:\n\tbecause\n\n  of that\n"), 1, "prog: it broke: because; of that\n"},
		{"hostile", errors.New("title \x1b[2J\u202e"), 1, "prog: title \\x1b[2J\\u202e\n"},
		{"silent", ErrFailed, 1, ""},
		{"silent, wrapped", fmt.Errorf("x: %w", ErrFailed), 1, ""},
		{"usage", Usage("--to is %s", "odd"), 2, "prog: --to is odd\nsee 'prog fail --help'\n"},
		{"usage, wrapped", fmt.Errorf("send: %w", Usage("odd")), 2, "prog: send: odd\nsee 'prog fail --help'\n"},
		{"unavailable", Unavailable("no Redis"), 3, "prog: no Redis\n"},
		{"timed out", TimedOut("no answer"), 4, "prog: no answer\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, stdout, stderr, code := run(t, nil, tt.err, "fail")
			if code != tt.code || stderr != tt.stderr || stdout != "" {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit %d, stderr %q", code, stdout, stderr, tt.code, tt.stderr)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var errs bytes.Buffer
	e := &Env{Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &errs, Stderr: &errs}
	root := &cobra.Command{Use: "prog", RunE: func(cmd *cobra.Command, _ []string) error {
		cancel()
		return fmt.Errorf("read: %w", cmd.Context().Err())
	}}
	if code := Main(ctx, e, root, nil); code != ExitFailed || errs.String() != "prog: interrupted\n" {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	r := Reader(ctx, in)
	go func() { _, _ = io.WriteString(out, "hello") }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	go cancel()
	if n, err := r.Read(got); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	out.Close() // ends the read that was given up
	if err := iotest.TestReader(Reader(t.Context(), strings.NewReader("some text")), []byte("some text")); err != nil {
		t.Error(err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "--help", "help", "group", "group --help", "version", "--version", "group sub --help"} {
		_, stdout, stderr, code := run(t, nil, nil, strings.Fields(args)...)
		if code != ExitOK || stdout == "" || stderr != "" {
			t.Errorf("prog %s: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	_, stdout, _, _ := run(t, nil, nil, "version", "--json")
	if !strings.HasPrefix(stdout, `{"version":"`) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("version --json: %s", stdout)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	_, _, stderr, _ := run(t, nil, nil, "log")
	if !strings.Contains(stderr, `"msg":"i","account":"alice"}`) || strings.Contains(stderr, `"msg":"d"`) {
		t.Errorf("default: %s", stderr)
	}
	_, _, stderr, _ = run(t, map[string]string{"SWITCHBOARD_LOG_LEVEL": "debug"}, nil, "log", "--log-format=text")
	if !strings.Contains(stderr, "level=DEBUG msg=d") {
		t.Errorf("debug as text: %s", stderr)
	}
	_, _, stderr, _ = run(t, nil, nil, "log", "--log-level=error")
	if stderr != "" {
		t.Errorf("error only: %s", stderr)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	_, stdout, _, code := run(t, nil, nil, "group", "sub", "12345", "\x1b[31mred", "--must=x")
	if want := "ID     JSON\n12345  \\x1b[31mred\n"; code != ExitOK || stdout != want {
		t.Errorf("table:\n%swant\n%s", stdout, want)
	}
	_, stdout, _, _ = run(t, nil, nil, "group", "sub", "1", "--must=x")
	if want := "ID  JSON\n1   -\n"; stdout != want {
		t.Errorf("table:\n%swant\n%s", stdout, want)
	}
	_, stdout, _, _ = run(t, nil, nil, "group", "sub", "<&>\x1b\u009b2J\x7fé", "--must=x", "--json")
	if want := "{\"id\":\"<&>\\u001b\\u009b2J\\u007fé\"}\n"; stdout != want {
		t.Errorf("json %q, want %q", stdout, want)
	}
}

func TestNegativeNumbers(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"group sub -100123 --must=x", "group sub --must x -100123", "group sub --must -1 -100123", "group sub --json=false -100123 --must=-1",
		"group sub --must -1 -- -100123", "group sub --wait -100123 --must x",
	} {
		_, stdout, stderr, code := run(t, nil, nil, strings.Fields(args)...)
		if want := "ID       JSON\n-100123  -\n"; code != ExitOK || stdout != want {
			t.Errorf("%s: exit %d, %q, %s", args, code, stdout, stderr)
		}
	}
	v, _, _, _ := run(t, nil, nil, "work", "--name", "-5", "--capacity", "-6")
	if v.Name != "-5" || v.Capacity != -6 {
		t.Errorf("values %+v", v)
	}
	_, _, stderr, code := run(t, nil, nil, "work", "-5")
	if code != ExitUsage || !strings.Contains(stderr, `too many: "-5"`) {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"plain", "Привет, 世界 é", "Привет, 世界 é"},
		{"emoji with joiners", "👨‍👩‍👧 ❤️", "👨‍👩‍👧 ❤️"},
		{"escape", "a\x1b[2J", `a\x1b[2J`},
		{"line breaks", "a\r\nb\tc", `a\r\nb\tc`},
		{"C1", "\u009b2J", `\u009b2J`},
		{"DEL", "\x7f", `\x7f`},
		{"direction", "abc\u202etxt\u2066", `abc\u202etxt\u2066`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"not UTF-8", "a\xffb", `a\xffb`},
		{"the replacement character itself", "a\ufffd", "a\ufffd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Clean(tt.in); got != tt.want {
				t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}
