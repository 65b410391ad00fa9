package archtest

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

const maxLines = 600

// base is what every public interface is made of, so whoever may import jobs may
// name accounts and peers too.
var base = []string{"accounts", "peers"}

// imports says which of our packages a package may import. A key that ends in
// "/..." stands for the directories below it as well, which may import one another.
// A package below X/internal/ counts as X. "*" stands for everything but the
// packages that importers have to be chosen for, see restricted.
var imports = map[string][]string{
	"accounts":                 nil,
	"peers":                    {"accounts"},
	"jobs":                     base,
	"accounts/sessionfile":     base,
	"accounts/kms":             nil,
	"accounts/pool":            {"accounts", "batching", "internal/rpcerror"},
	"accounts/login":           {"accounts", "accounts/pool", "internal/rpcerror"},
	"peers/resolver":           append([]string{"internal/rpcerror"}, base...),
	"jobs/dispatch":            append([]string{"jobs"}, base...),
	"jobs/raw":                 append([]string{"jobs", "internal/tljson"}, base...),
	"jobs/handlers":            append([]string{"jobs", "jobs/raw", "accounts/pool", "peers/resolver", "internal/tljson", "internal/outbound", "internal/rpcerror"}, base...),
	"jobs/apikey":              append([]string{"jobs"}, base...),
	"jobs/gateway":             append([]string{"jobs", "jobs/apikey", "jobs/raw", "internal/tljson", "internal/outbound"}, base...),
	"jobs/webhook":             append([]string{"jobs", "internal/outbound"}, base...),
	"db/...":                   append([]string{"jobs", "jobs/apikey", "jobs/webhook"}, base...),
	"batching":                 nil,
	"internal/tljson/...":      nil,
	"internal/outbound":        nil,
	"internal/rpcerror":        nil,
	"internal/tgsim/...":       nil,
	"internal/cli/...":         append([]string{"jobs"}, base...),
	"internal/archtest":        nil,
	"internal/simtest/...":     {"*"},
	"internal/testenv":         nil,
	"internal/testenv/cmd/...": {"internal/testenv"},
	"cmd/worker/...":           {"*"},
	"cmd/enqueue/...":          {"*"},
	"deploy/...":               nil,
}

// restricted packages are not part of "*".
var restricted = []string{"cmd/...", "internal/testenv/...", "internal/simtest/...", "internal/archtest"}

// pure packages know neither Telegram's library nor the database's; what they may
// not import directly beyond that is listed with each.
var pure = map[string][]string{
	"accounts":          {"github.com/hibiken/asynq"},
	"peers":             {"github.com/hibiken/asynq"},
	"jobs":              nil,
	"internal/rpcerror": {"github.com/hibiken/asynq"},
}

const (
	gotd     = "github.com/gotd"
	gorm     = "gorm.io"
	goose    = "github.com/pressly/goose"
	glebarez = "github.com/glebarez" // gorm's SQLite driver
)

// readsSQLite is what reads other programs' databases, with the driver alone.
const (
	readsSQLite  = "accounts/sessionfile"
	sqliteDriver = "github.com/glebarez/go-sqlite"
)

// producer is the program that must not be able to open a session.
const producer = "cmd/enqueue"

// opensSessions is what gives that ability.
var opensSessions = []string{
	"accounts/pool", "accounts/login", "jobs/handlers", "internal/tgsim", "cmd/worker",
	"github.com/gotd/td/telegram", "github.com/gotd/td/mtproto",
}

// simulatorFiles are the files of cmd/worker that may import the simulator; tests
// and what sets them up may anyway.
var simulatorFiles = []string{"dev*.go", "demo*.go", "bench*.go", "sim*.go"}

// pkg is the directory of one package. Paths of ours are relative to the module.
type pkg struct {
	path  string // "" is the module's root
	name  string
	files []file
}

// file is what the rules look at in one source file.
type file struct {
	name     string
	test     bool
	lines    int
	imports  []string // ours are relative to the module
	ours     []string // those of imports that are ours
	comment  string   // the package comment, "" if this file has none
	findings []string // habits broken, found by scan

	opensDatabase bool // all of it, with db.Open
}

func (f file) generated() bool { return strings.HasSuffix(f.name, "_gen.go") }

// matches reports whether p is pattern, or below it for a pattern "dir/...".
func matches(pattern, p string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(dir, p)
	}
	return pattern == p
}

// within reports whether the import path p is dir or below it.
func within(dir, p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func matchesAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, p) })
}

// withoutInternal is the package that p counts as: X for X/internal/y, but not for
// the module's own internal directory.
func withoutInternal(p string) string {
	if owner, _, ok := strings.Cut(p, "/internal/"); ok {
		return owner
	}
	return p
}

// keyOf is the entry of the table for p, "" if there is none.
func keyOf(p string) string {
	for key := range imports {
		if matches(key, p) {
			return key
		}
	}
	return ""
}

// checkImports applies the table to what is not a test.
func checkImports(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		owner := withoutInternal(p.path)
		key := keyOf(owner)
		if key == "" {
			bad = append(bad, fmt.Sprintf("%s: a package that the table of imports does not know", cmp.Or(p.path, "(root)")))
			continue
		}
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, to := range f.ours {
				if target := withoutInternal(to); target != owner && !matches(key, target) && !allowed(imports[key], target) {
					bad = append(bad, fmt.Sprintf("%s: must not import %s", path.Join(p.path, f.name), to))
				}
			}
		}
	}
	return bad
}

func allowed(list []string, p string) bool {
	return slices.Contains(list, p) || slices.Contains(list, "*") && !matchesAny(restricted, p)
}

// checkPure keeps the pure packages pure, directly and through our own packages.
func checkPure(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		extra, ok := pure[withoutInternal(p.path)]
		if !ok {
			continue
		}
		for _, f := range p.files {
			for _, to := range f.imports {
				if !f.test && slices.ContainsFunc(extra, func(dir string) bool { return within(dir, to) }) {
					bad = append(bad, fmt.Sprintf("%s: a pure package imports %s", path.Join(p.path, f.name), to))
				}
			}
		}
		for to, via := range reach(pkgs, p.path) {
			if within(gotd, to) || within(gorm, to) {
				bad = append(bad, fmt.Sprintf("%s: a pure package reaches %s: %s", p.path, to, via))
			}
		}
	}
	return bad
}

// checkDatabase keeps gorm and the migrations in db, tests included.
func checkDatabase(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		if within("db", p.path) || within("internal/testenv", p.path) {
			continue
		}
		for _, f := range p.files {
			for _, to := range f.imports {
				if p.path == readsSQLite && to == sqliteDriver {
					continue
				}
				if within(gorm, to) || within(goose, to) || within(glebarez, to) {
					bad = append(bad, fmt.Sprintf("%s: only db may import %s", path.Join(p.path, f.name), to))
				}
			}
		}
	}
	return bad
}

// checkProducer keeps the producer from everything that opens a session.
func checkProducer(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		if !within(producer, p.path) {
			continue
		}
		for _, f := range p.files {
			if f.opensDatabase && !f.test {
				bad = append(bad, fmt.Sprintf("%s: must not use db.Open, from which sessions can be read", path.Join(p.path, f.name)))
			}
		}
		for to, via := range reach(pkgs, p.path) {
			if slices.Contains(opensSessions, to) {
				bad = append(bad, fmt.Sprintf("%s: must not reach %s: %s", p.path, to, via))
			}
		}
	}
	return bad
}

// checkSimulator keeps the simulator out of production code.
func checkSimulator(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		if within("internal/tgsim", p.path) || within("internal/simtest", p.path) {
			continue
		}
		for _, f := range p.files {
			fits := slices.ContainsFunc(simulatorFiles, func(pattern string) bool {
				ok, err := path.Match(pattern, f.name)
				return ok && err == nil
			})
			if f.test || p.path == "cmd/worker" && fits {
				continue
			}
			for _, to := range f.ours {
				if within("internal/tgsim", to) {
					bad = append(bad, fmt.Sprintf("%s: only tests and cmd/worker's %s may import %s",
						path.Join(p.path, f.name), strings.Join(simulatorFiles, ", "), to))
				}
			}
		}
	}
	return bad
}

// checkComments wants one package comment each. Packages of tests alone need none.
func checkComments(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		want := "Package " + p.name
		if p.name == "main" {
			want = "Command " + path.Base(p.path)
		}
		var in []string
		code := false
		for _, f := range p.files {
			code = code || !f.test
			if f.comment == "" || f.test {
				continue
			}
			in = append(in, f.name)
			if rest, ok := strings.CutPrefix(f.comment, want); !ok || strings.TrimLeft(rest, " \n,.:") == rest {
				bad = append(bad, fmt.Sprintf("%s: the package comment has to start with %q", path.Join(p.path, f.name), want))
			}
		}
		switch {
		case code && len(in) == 0:
			bad = append(bad, fmt.Sprintf("%s: no package comment", cmp.Or(p.path, "(root)")))
		case len(in) > 1:
			bad = append(bad, fmt.Sprintf("%s: more than one package comment: %s", cmp.Or(p.path, "(root)"), strings.Join(in, ", ")))
		}
	}
	return bad
}

// checkFiles is about length and habits.
func checkFiles(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		for _, f := range p.files {
			if f.lines > maxLines && !f.generated() {
				bad = append(bad, fmt.Sprintf("%s: %d lines, more than %d", path.Join(p.path, f.name), f.lines, maxLines))
			}
			for _, finding := range f.findings {
				bad = append(bad, path.Join(p.path, f.name)+finding)
			}
		}
	}
	return bad
}

// reach is everything that the package from imports outside its tests, directly or
// through our own packages, each with the way there.
func reach(pkgs []pkg, from string) map[string]string {
	byPath := make(map[string]pkg, len(pkgs))
	for _, p := range pkgs {
		byPath[p.path] = p
	}
	ways := map[string]string{from: from}
	queue := []string{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, f := range byPath[at].files {
			if f.test {
				continue
			}
			for _, to := range f.imports {
				if _, seen := ways[to]; !seen {
					ways[to] = ways[at] + " -> " + to
					queue = append(queue, to)
				}
			}
		}
	}
	delete(ways, from)
	return ways
}

// check applies every rule.
func check(pkgs []pkg) []string {
	lines := make(map[string]bool)
	for _, rule := range []func([]pkg) []string{
		checkImports, checkPure, checkDatabase, checkProducer, checkSimulator, checkComments, checkFiles,
	} {
		for _, line := range rule(pkgs) {
			lines[line] = true
		}
	}
	return slices.Sorted(maps.Keys(lines))
}
