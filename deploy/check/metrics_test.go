package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const metricsPage = "../../docs/metrics.md"

var (
	metricRow = regexp.MustCompile("(?m)^\\| (`[a-z_…`, ]+`) \\| ?(\\w*) ?\\|([^|]*)\\|")
	quoted    = regexp.MustCompile("`([^`]+)`")
)

// metric is what docs/metrics.md says of one.
type metric struct{ labels []string }

// metrics reads the table in docs/metrics.md; a name that ends in … is a prefix.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	// Prometheus's own.
	all := map[string]metric{"up": {}, "ALERTS": {labels: []string{"alertname", "alertstate"}}}
	for _, row := range metricRow.FindAllStringSubmatch(string(text), -1) {
		var m metric
		for _, l := range quoted.FindAllStringSubmatch(row[3], -1) {
			m.labels = append(m.labels, l[1])
		}
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			if row[2] != "histogram" {
				all[name[1]] = m
				continue
			}
			all[name[1]+"_sum"], all[name[1]+"_count"] = m, m
			all[name[1]+"_bucket"] = metric{labels: append(slices.Clone(m.labels), "le")}
		}
	}
	if len(all) < 10 {
		t.Fatalf("%s has no table of metrics", metricsPage)
	}
	return all
}

// targetLabels are on every series: Prometheus adds them, or Kubernetes' discovery.
var targetLabels = []string{"job", "instance", "namespace", "pod"}

var promql = parser.NewParser(parser.Options{})

// checkQuery parses an expression, and wants its metrics to be in docs/metrics.md,
// with the labels that are matched.
func checkQuery(t *testing.T, where, expr string) {
	t.Helper()
	// Grafana fills these in.
	expr = strings.NewReplacer("$__rate_interval", "1m", "$job", "x").Replace(expr)
	tree, err := promql.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, expr)
		return
	}
	known := metrics(t)
	asked := false
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		asked = true
		m, ok := known[v.Name]
		for name, prefixed := range known {
			if prefix, is := strings.CutSuffix(name, "…"); is && !ok && strings.HasPrefix(v.Name, prefix) {
				m, ok = prefixed, true
			}
		}
		if !ok {
			t.Errorf("%s: metric %q is not in docs/metrics.md", where, v.Name)
		}
		for _, l := range v.LabelMatchers {
			if ok && l.Name != "__name__" && !slices.Contains(slices.Concat(m.labels, targetLabels), l.Name) {
				t.Errorf("%s: metric %q has no label %q", where, v.Name, l.Name)
			}
		}
		return nil
	})
	if !asked {
		t.Errorf("%s asks for no metric: %s", where, expr)
	}
}

func TestAlerts(t *testing.T) {
	file := "../prometheus/alerts.yaml"
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	anchors := headings(t, "../../docs/operations.md")
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Switchboard") {
				t.Errorf("%q: an alert's name begins with Switchboard, and is there once", r.Alert)
			}
			seen[r.Alert] = true
			checkQuery(t, r.Alert, r.Expr)
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s has severity %q", r.Alert, s)
			}
			for _, key := range []string{"summary", "description"} {
				if r.Annotations[key] == "" {
					t.Errorf("%s has no %s", r.Alert, key)
				}
			}
			page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
			if !strings.HasSuffix(page, "/docs/operations.md") || !anchors[anchor] {
				t.Errorf("%s: there is no runbook at %s#%s", r.Alert, page, anchor)
			}
		}
	}
	if len(seen) == 0 {
		t.Errorf("%s has no alerts", file)
	}
}

// dashboard is what of it is looked at.
type dashboard struct {
	UID        string
	Panels     []panel
	Templating struct{ List []struct{ Name string } }
}

type panel struct {
	ID      int
	Title   string
	Type    string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ RefID, Expr string }
}

func TestDashboard(t *testing.T) {
	files, err := filepath.Glob("../grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || len(d.Panels) == 0 {
			t.Errorf("%s has no uid, or no panels", file)
		}
		ids := map[int]bool{}
		cells := map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: panel %d is there twice", p.Title, p.ID)
			}
			ids[p.ID] = true
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s asks nothing", p.Title)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, ok := cells[[2]int{x, y}]; ok {
						t.Fatalf("panels %q and %q overlap", other, p.Title)
					}
					cells[[2]int{x, y}] = p.Title
				}
			}
			for _, q := range p.Targets {
				checkQuery(t, p.Title, q.Expr)
				if !strings.Contains(q.Expr, `job=~"$job"`) {
					t.Errorf("%s does not heed the chosen fleet: %s", p.Title, q.Expr)
				}
			}
		}
		for _, v := range []string{"datasource", "job"} {
			found := false
			for _, l := range d.Templating.List {
				found = found || l.Name == v
			}
			if !found {
				t.Errorf("%s has no variable %s", file, v)
			}
		}
	}
	var source struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool
			JSONData                     map[string]any `json:"jsonData"`
		}
	}
	read(t, "../compose/grafana/datasource.yaml", &source)
	if source.Datasources[0].Type != "prometheus" || source.Datasources[0].URL != "http://prometheus:9090" {
		t.Error("Grafana's data source is not compose's Prometheus")
	}
}
