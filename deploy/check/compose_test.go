package check

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
)

func compose(t *testing.T) *types.Project {
	t.Helper()
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "..",
		ConfigFiles: []types.ConfigFile{{Filename: "../compose.yaml", Content: text}},
		Environment: map[string]string{"SWITCHBOARD_UID": "1000", "SWITCHBOARD_GID": "1000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompose(t *testing.T) {
	p := compose(t)
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if ip := net.ParseIP(port.HostIP); ip == nil || !ip.IsLoopback() {
				t.Errorf("%s publishes port %s on %q, beyond the loopback address", name, port.Published, port.HostIP)
			}
		}
		if s.Privileged || s.NetworkMode == "host" {
			t.Errorf("%s has rights on the host", name)
		}
		if s.Image == "" || !strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest") {
			t.Errorf("%s has image %q, without a version", name, s.Image)
		}
		if name != "migrate" && (s.HealthCheck == nil || len(s.HealthCheck.Test) < 2) {
			t.Errorf("%s has no health check", name)
		}
		for key, value := range s.Environment {
			if value != nil && strings.Contains(strings.ToUpper(key), "PASSWORD") && !strings.HasPrefix(*value, "/run/secrets/") {
				t.Errorf("%s has a password in its environment", name)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s mounts what is not there: %v", name, err)
				}
			}
		}
		if s.Build != nil {
			if _, err := os.Stat(s.Build.Context + "/" + s.Build.Dockerfile); err != nil {
				t.Errorf("%s is built from what is not there: %v", name, err)
			}
		}
	}
	for _, name := range []string{"postgres", "redis"} {
		for n := range p.Services[name].Networks {
			if !p.Networks[n].Internal {
				t.Errorf("%s is on network %s, which leads out", name, n)
			}
		}
	}
	redis := strings.Join(p.Services["redis"].Command, " ")
	for _, want := range []string{"--maxmemory-policy noeviction", "--appendonly yes", "--appendfsync everysec"} {
		if !strings.Contains(redis, want) {
			t.Errorf("Redis runs without %s", want)
		}
	}
}

func TestComposeWorkers(t *testing.T) {
	p := compose(t)
	names := map[string]bool{}
	for _, name := range []string{"worker-1", "worker-2"} {
		s := p.Services[name]
		if names[s.Hostname] || s.Hostname == "" {
			t.Errorf("%s is called %q in leases, as another one is", name, s.Hostname)
		}
		names[s.Hostname] = true
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.User != "1000:1000" {
			t.Errorf("%s has more rights than it needs", name)
		}
		if s.DependsOn["migrate"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for the migration", name)
		}
		drain, err := time.ParseDuration(argument(s.Command, "--drain-timeout"))
		if err != nil {
			t.Fatal(err)
		}
		if grace := time.Duration(*s.StopGracePeriod); grace < drain+25*time.Second {
			t.Errorf("%s has %v to stop, too short for a drain of %v", name, grace, drain)
		}
		if port := argument(s.Command, "--http"); !strings.Contains(s.HealthCheck.Test[2], "127.0.0.1"+port+"/readyz") {
			t.Errorf("the health check of %s asks %s, it listens on %s", name, s.HealthCheck.Test[2], port)
		}
		checkFlags(t, "worker", "run", s.Command[1:], environment(s))
	}
	checkFlags(t, "worker", "migrate up", nil, without(environment(p.Services["migrate"]), "SWITCHBOARD_KEY_FILE"))
	checkFlags(t, "worker", "accounts add", nil, environment(p.Services["migrate"])) // README.md runs it there

	var config prometheusConfig
	read(t, "../prometheus/prometheus.yml", &config)
	for _, target := range config.ScrapeConfigs[0].StaticConfigs[0].Targets {
		host, _, _ := strings.Cut(target, ":")
		s, ok := p.Services[host]
		if !ok {
			t.Errorf("Prometheus scrapes %s, which is not there", target)
			continue
		}
		if _, shared := s.Networks["metrics"]; !shared || host+argument(s.Command, "--http") != target {
			t.Errorf("Prometheus does not reach %s", target)
		}
	}
	if got, want := len(config.ScrapeConfigs[0].StaticConfigs[0].Targets), len(names); got != want {
		t.Errorf("Prometheus scrapes %d workers of %d", got, want)
	}
}

// prometheusConfig is what of Prometheus's configuration is used.
type prometheusConfig struct {
	Global struct {
		ScrapeInterval     string `json:"scrape_interval"`
		EvaluationInterval string `json:"evaluation_interval"`
	} `json:"global"`
	RuleFiles     []string `json:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string `json:"job_name"`
		StaticConfigs []struct {
			Targets []string `json:"targets"`
		} `json:"static_configs"`
	} `json:"scrape_configs"`
}

func environment(s types.ServiceConfig) (env []corev1.EnvVar) {
	for name := range s.Environment {
		env = append(env, corev1.EnvVar{Name: name})
	}
	return env
}

// without drops what is shared by commands that have no use for it.
func without(env []corev1.EnvVar, name string) []corev1.EnvVar {
	return slices.DeleteFunc(env, func(e corev1.EnvVar) bool { return e.Name == name || e.Name == "SWITCHBOARD_CONFIG" })
}
