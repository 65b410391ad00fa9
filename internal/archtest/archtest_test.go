package archtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModule applies every rule to the module.
func TestModule(t *testing.T) {
	pkgs, err := scanModule("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.path == "internal/archtest" }) {
		t.Fatal("the scan has not found even this package")
	}
	for _, line := range check(pkgs) {
		t.Error(line)
	}
}

const module = "example.org/m"

// source is one file of a made-up module.
type source struct{ path, text string }

// scanSources makes packages of sources, each in a directory of its own.
func scanSources(t *testing.T, sources ...source) []pkg {
	t.Helper()
	var pkgs []pkg
	for _, s := range sources {
		dir, base := "", s.path
		if i := strings.LastIndex(s.path, "/"); i >= 0 {
			dir, base = s.path[:i], s.path[i+1:]
		}
		f, name, err := scanFile(module, base, []byte(s.text))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(pkgs, func(p pkg) bool { return p.path == dir })
		if i < 0 {
			i = len(pkgs)
			pkgs = append(pkgs, pkg{path: dir, name: name})
		}
		pkgs[i].files = append(pkgs[i].files, f)
	}
	return pkgs
}

// importing is the text of a commented file that imports paths.
func importing(name string, paths ...string) string {
	comment := "Package " + name
	if name == "worker" || name == "enqueue" {
		comment, name = "Command "+name, "main"
	}
	text := "// " + comment + " is made up.\npackage " + name + "\n"
	for _, p := range paths {
		text += "import _ \"" + p + "\"\n"
	}
	return text
}

func TestRules(t *testing.T) {
	tests := []struct {
		name    string
		sources []source
		want    []string // violations, all of them
	}{
		{
			"what the table allows",
			[]source{
				{"accounts/a.go", importing("accounts", "context")},
				{"peers/a.go", importing("peers", module+"/accounts")},
				{"jobs/a.go", importing("jobs", module+"/peers", module+"/jobs/internal/keys", "github.com/hibiken/asynq")},
				{"jobs/internal/keys/a.go", importing("keys", module+"/accounts")},
				{"db/a.go", importing("db", module+"/jobs", module+"/db/migrations", "gorm.io/gorm", "github.com/pressly/goose/v3")},
				{"db/migrations/a.go", importing("migrations")},
				{"cmd/worker/run.go", importing("worker", module+"/db", module+"/jobs/handlers", module+"/internal/cli")},
			},
			nil,
		},
		{
			"upwards",
			[]source{{"accounts/a.go", importing("accounts", module+"/peers")}},
			[]string{"accounts/a.go: must not import peers"},
		},
		{
			"another's internal package",
			[]source{{"peers/a.go", importing("peers", module+"/jobs/internal/keys")}},
			[]string{"peers/a.go: must not import jobs/internal/keys"},
		},
		{
			"an internal package binds as its owner does",
			[]source{{"jobs/internal/keys/a.go", importing("keys", module+"/db")}},
			[]string{"jobs/internal/keys/a.go: must not import db"},
		},
		{
			"ours where nothing of ours is allowed",
			[]source{{"batching/a.go", importing("batching", module+"/accounts")}},
			[]string{"batching/a.go: must not import accounts"},
		},
		{
			"a command imported",
			[]source{{"cmd/worker/a.go", importing("worker", module+"/cmd/enqueue")}},
			[]string{"cmd/worker/a.go: must not import cmd/enqueue"},
		},
		{
			"unknown package",
			[]source{{"helpers/a.go", importing("helpers")}},
			[]string{"helpers: a package that the table of imports does not know"},
		},
		{
			"the test environment outside tests",
			[]source{
				{"cmd/worker/a.go", importing("worker", module+"/internal/testenv")},
				{"cmd/worker/a_test.go", "package main\nimport _ \"" + module + "/internal/testenv\"\n"},
			},
			[]string{"cmd/worker/a.go: must not import internal/testenv"},
		},
		{
			"pure packages",
			[]source{
				{"accounts/a.go", importing("accounts", "github.com/hibiken/asynq")},
				{"peers/a.go", importing("peers", "github.com/gotd/td/tg")},
			},
			[]string{
				"accounts/a.go: a pure package imports github.com/hibiken/asynq",
				"peers: a pure package reaches github.com/gotd/td/tg: peers -> github.com/gotd/td/tg",
			},
		},
		{
			"pure packages, through another of ours",
			[]source{
				{"jobs/a.go", importing("jobs", module+"/jobs/internal/keys")},
				{"jobs/internal/keys/a.go", importing("keys", "github.com/gotd/td/bin")},
			},
			[]string{
				"jobs/internal/keys: a pure package reaches github.com/gotd/td/bin: jobs/internal/keys -> github.com/gotd/td/bin",
				"jobs: a pure package reaches github.com/gotd/td/bin: jobs -> jobs/internal/keys -> github.com/gotd/td/bin",
			},
		},
		{
			"gorm outside db, in a test too",
			[]source{
				{"cmd/worker/a.go", importing("worker", "github.com/pressly/goose/v3")},
				{"cmd/worker/a_test.go", "package main\nimport _ \"gorm.io/gorm\"\n"},
			},
			[]string{
				"cmd/worker/a.go: only db may import github.com/pressly/goose/v3",
				"cmd/worker/a_test.go: only db may import gorm.io/gorm",
			},
		},
		{
			"SQLite's driver, where other clients' databases are read",
			[]source{
				{"accounts/sessionfile/a.go", importing("sessionfile", "github.com/glebarez/go-sqlite", "github.com/glebarez/sqlite", "gorm.io/gorm")},
				{"accounts/a.go", importing("accounts", "github.com/glebarez/go-sqlite")},
			},
			[]string{
				"accounts/a.go: only db may import github.com/glebarez/go-sqlite",
				"accounts/sessionfile/a.go: only db may import github.com/glebarez/sqlite",
				"accounts/sessionfile/a.go: only db may import gorm.io/gorm",
			},
		},
		{
			"the producer opens all of the database",
			[]source{
				{"cmd/enqueue/a.go", importing("enqueue", module+"/accounts") + "import store \"" + module + "/db\"\nvar open = store.Open\nvar narrow = store.OpenOutcomes\n"},
				{"cmd/enqueue/b.go", "package main\nimport \"os\"\nvar db = os.Open\n"},
				{"cmd/enqueue/a_test.go", "package main\nimport \"" + module + "/db\"\nvar _ = db.Open\n"},
				{"cmd/worker/a.go", importing("worker", module+"/accounts") + "import \"" + module + "/db\"\nvar open = db.Open\n"},
			},
			[]string{"cmd/enqueue/a.go: must not use db.Open, from which sessions can be read"},
		},
		{
			"the producer reaches a session",
			[]source{
				{"cmd/enqueue/a.go", importing("enqueue", module+"/db")},
				{"db/a.go", importing("db", module+"/accounts/pool")},
				{"accounts/pool/a.go", importing("pool", "github.com/gotd/td/telegram")},
			},
			[]string{
				"cmd/enqueue: must not reach accounts/pool: cmd/enqueue -> db -> accounts/pool",
				"cmd/enqueue: must not reach github.com/gotd/td/telegram: cmd/enqueue -> db -> accounts/pool -> github.com/gotd/td/telegram",
				"db/a.go: must not import accounts/pool",
			},
		},
		{
			"the simulator in production code",
			[]source{
				{"cmd/worker/dev.go", importing("worker", module+"/internal/tgsim")},
				{"cmd/worker/run.go", "package main\nimport _ \"" + module + "/internal/tgsim\"\n"},
				{"cmd/worker/run_test.go", "package main\nimport _ \"" + module + "/internal/tgsim\"\n"},
			},
			[]string{"cmd/worker/run.go: only tests and cmd/worker's dev*.go, demo*.go, bench*.go, sim*.go may import internal/tgsim"},
		},
		{
			"package comments",
			[]source{
				{"accounts/a.go", "package accounts\n"},
				{"peers/a.go", importing("peers")},
				{"peers/b.go", importing("peers")},
				{"jobs/a.go", "// Jobs of all kinds.\npackage jobs\n"},
				{"batching/a.go", "// Package batchings is another.\npackage batching\n"},
				{"jobs/dispatch/a_test.go", "package dispatch\n"},
			},
			[]string{
				"accounts: no package comment",
				`batching/a.go: the package comment has to start with "Package batching"`,
				`jobs/a.go: the package comment has to start with "Package jobs"`,
				"peers: more than one package comment: a.go, b.go",
			},
		},
		{
			"length",
			[]source{
				{"jobs/a.go", importing("jobs") + strings.Repeat("\n", maxLines)},
				{"jobs/a_gen.go", "package jobs\n" + strings.Repeat("\n", maxLines)},
			},
			[]string{"jobs/a.go: 602 lines, more than 600"},
		},
		{
			"habits", // in pieces, so that a search for them does not end here
			[]source{
				{"jobs/a.go", importing("jobs", "time") + "func f() { time.Sl" + "eep(1) }\n// TO" + "DO: more\n"},
				{"jobs/a_test.go", "package jobs\n" + `import pause "time"; import "testing"
func TestF(t *testing.T) { pause.Sleep(1); t.Run("", func(tt *testing.T) { tt.` + `Skipf("") }) }
func g(d decoder) { d.Skip() }
`},
			},
			[]string{
				"jobs/a.go:5: TO" + "DO: finish it or file it",
				"jobs/a_test.go:3: a test must not be skipped",
				"jobs/a_test.go:3: a test must not sleep",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, check(scanSources(t, tt.sources...))); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}
