package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// read reads a YAML or JSON file; a field that v does not have is an error.
func read(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// argument is the value of --flag=value.
func argument(args []string, flag string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, flag+"="); ok {
			return v
		}
	}
	return ""
}

func seconds(t *testing.T, text string) int64 {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(d / time.Second)
}

// program builds a program of Switchboard, once.
var programs sync.Map

func program(t *testing.T, name string) string {
	t.Helper()
	build, _ := programs.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "switchboard-check-")
		if err != nil {
			return "", err
		}
		cmd := exec.Command("go", "build", "-o", dir, "./cmd/"+name)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			return string(out), err
		}
		return filepath.Join(dir, name), nil
	}))
	file, err := build.(func() (string, error))()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, file)
	}
	return file
}

func TestMain(m *testing.M) {
	code := m.Run()
	programs.Range(func(_, build any) bool {
		if file, err := build.(func() (string, error))(); err == nil {
			os.RemoveAll(filepath.Dir(file))
		}
		return true
	})
	os.Exit(code)
}

var helpFlag = regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9.-]+)`)

// flags are those that a command has, as its help says.
func flags(t *testing.T, name, command string) map[string]bool {
	t.Helper()
	out, err := exec.Command(program(t, name), append(strings.Fields(command), "--help")...).Output()
	if err != nil {
		t.Fatalf("%s %s --help: %v", name, command, err)
	}
	all := map[string]bool{}
	for _, m := range helpFlag.FindAllStringSubmatch(string(out), -1) {
		all[m[1]] = true
	}
	if !all["help"] || !all["database"] {
		t.Fatalf("flags of %s %s are not found in its help", name, command)
	}
	return all
}

// checkFlags wants every flag and every SWITCHBOARD_ variable to be known.
func checkFlags(t *testing.T, name, command string, args []string, env []corev1.EnvVar) {
	t.Helper()
	known := flags(t, name, command)
	for _, a := range args {
		flag, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if !known[flag] {
			t.Errorf("%s %s has no flag for %s", name, command, a)
		}
	}
	vars := map[string]bool{"SWITCHBOARD_KEY": true}
	for flag := range known {
		vars["SWITCHBOARD_"+strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(flag))] = true
	}
	for _, e := range env {
		if strings.HasPrefix(e.Name, "SWITCHBOARD_") && !vars[e.Name] {
			t.Errorf("%s %s does not read %s", name, command, e.Name)
		}
	}
}

// TestDockerfile compares what the image is built from with what is there.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	if !strings.Contains(string(text), " golang:"+want+" ") {
		t.Errorf("go.mod says Go %s, the Dockerfile builds with another", want)
	}
	version, err := os.ReadFile("../../internal/cli/version.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(version), "\nvar version string\n") || !strings.Contains(string(text), "/internal/cli.version=") {
		t.Error("the Dockerfile stamps a variable that is not there")
	}
	for _, m := range regexp.MustCompile(`\./(cmd/\w+|deploy/\w+)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat("../../" + m[1]); err != nil {
			t.Error(err)
		}
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):\d+$`).FindStringSubmatch(string(text))
	if user == nil || user[1] == "0" {
		t.Error("the image has to run as a number that is not root's")
	}

	// Every package has to be in the context.
	ignore, err := os.ReadFile("../Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}`, "./cmd/worker", "./cmd/enqueue", "./deploy/probe")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		p = strings.TrimPrefix(p, "github.com/tgswitchboard/switchboard/")
		first, _, _ := strings.Cut(p, "/")
		if !strings.Contains(string(ignore), "\n!"+first+"\n") && !strings.Contains(string(ignore), "\n!"+p+"\n") {
			t.Errorf("package %s is not in the image's context", p)
		}
	}
}

// TestSecrets runs secrets.sh with a Docker that is none.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("../secrets.sh")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	write := func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "deploy/secrets.sh"), string(text))
	write(filepath.Join(bin, "docker"), "#!/bin/sh\ncase $1 in run) umask 077; "+program(t, "worker")+" key new secrets/new/key.json;; esac\n")
	// chown needs no root here.
	write(filepath.Join(bin, "chown"), "#!/bin/sh\n")
	run := func(args ...string) (string, error) {
		cmd := exec.Command("/bin/sh", append([]string{filepath.Join(dir, "deploy/secrets.sh")}, args...)...)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("abc"); err == nil || !strings.Contains(out, "my.telegram.org") {
		t.Errorf("an id that is no number is answered with %q, %v", out, err)
	}
	if out, err := run("12345"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	secrets := filepath.Join(dir, "deploy/secrets")
	first := map[string]string{}
	for name, mode := range map[string]os.FileMode{".": 0o700, "key.json": 0o600, "worker.yaml": 0o600, "postgres_password": 0o644, "redis.conf": 0o644, "grafana_password": 0o644, "../.env": 0o600} {
		file := filepath.Join(secrets, name)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != mode {
			t.Errorf("%s has mode %o, want %o", name, got, mode)
		}
		if !info.IsDir() {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first[name] = string(b)
		}
	}
	var settings map[string]any
	read(t, filepath.Join(secrets, "worker.yaml"), &settings)
	if got := settings["telegram.api-id"]; got != 12345.0 && got != int64(12345) {
		t.Errorf("telegram.api-id is %v", got)
	}
	if !strings.Contains(settings["database"].(string), ":"+first["postgres_password"]+"@postgres:") ||
		!strings.Contains(settings["redis"].(string), ":"+strings.TrimSpace(strings.TrimPrefix(first["redis.conf"], "requirepass "))+"@redis:") {
		t.Error("worker.yaml has other passwords than Postgres and Redis")
	}
	// The worker reads it: what it finds wrong is that nobody is there.
	out, err := exec.Command(program(t, "worker"), "migrate", "status", "--config", filepath.Join(secrets, "worker.yaml")).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
		t.Errorf("migrate status with worker.yaml: %v, want exit code 3\n%s", err, out)
	}
	if out, err := run("54321"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range first {
		if b, _ := os.ReadFile(filepath.Join(secrets, name)); string(b) != text {
			t.Errorf("a second run changes %s", name)
		}
	}
}
