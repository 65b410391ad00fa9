package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

const chartDir = "../helm/switchboard"

// render renders the chart; the error is that of the schema or of a template.
func render(values string) (map[string]string, error) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		return nil, err
	}
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "blue", Namespace: "tg", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, v, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(chart, all)
}

// object is one rendered manifest.
type object struct {
	file string
	metav1.TypeMeta
	meta metav1.ObjectMeta
	any
}

func (o object) String() string { return fmt.Sprintf("%s: %s %s", o.file, o.Kind, o.meta.Name) }

// kinds are the types of what the chart makes. The last two are of operators:
// their fields are looked at by name.
var kinds = map[string]func() any{
	"v1 Secret":                               func() any { return new(corev1.Secret) },
	"v1 Service":                              func() any { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment":                      func() any { return new(appsv1.Deployment) },
	"batch/v1 Job":                            func() any { return new(batchv1.Job) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policyv1.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networkingv1.NetworkPolicy) },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return new(scaledObject) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return new(serviceMonitor) },
}

var apart = regexp.MustCompile(`(?m)^---\s*$`)

// objects renders and reads all manifests; a field that its type does not have
// is an error.
func objects(t *testing.T, values string) map[string]object {
	t.Helper()
	files, err := render(values)
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	found := map[string]object{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		for _, bad := range []string{"{{", "}}", "<no value>", "%!", "<nil>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: %q is left in what was rendered", name, bad)
			}
		}
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, doc := range apart.Split(text, -1) {
			o := object{file: path.Base(name)}
			if err := yaml.Unmarshal([]byte(doc), &o.TypeMeta); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			if o.Kind == "" {
				continue // comments, or switched off
			}
			make := kinds[o.APIVersion+" "+o.Kind]
			if make == nil {
				t.Fatalf("%s: %s %s is unknown here; add its type", name, o.APIVersion, o.Kind)
			}
			o.any = make()
			if err := yaml.UnmarshalStrict([]byte(doc), o.any); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			o.meta = reflect.ValueOf(o.any).Elem().FieldByName("ObjectMeta").Interface().(metav1.ObjectMeta)
			for _, m := range validation.IsDNS1123Subdomain(o.meta.Name) {
				t.Errorf("%s: name: %s", o, m)
			}
			for k, v := range o.meta.Labels {
				for _, m := range slices.Concat(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)) {
					t.Errorf("%s: label %s=%s: %s", o, k, v, m)
				}
			}
			if before, ok := found[o.Kind]; ok {
				t.Fatalf("%s and %s: this test expects one of a kind", before, o)
			}
			found[o.Kind] = o
		}
	}
	return found
}

// minimal is the least that has to be given.
const minimal = `secrets: {existing: mine}`

// everything switches everything on.
const everything = `
image: {repository: registry.example/switchboard, tag: v1.2.3, pullSecrets: [{name: pull}]}
secrets:
  create:
    database: postgres://u:p@db/s
    redis: redis+cluster://:p@r1,r2
    key: '{"primaryKeyId": 1}'
    apiID: 12345
    apiHash: abc
worker:
  drainSeconds: 60
  leaseTTLSeconds: 20
  extraArgs: ["--fetch-urls", "--names-a-day=500"]
  extraEnv: [{name: OTEL_SERVICE_NAME, value: switchboard}]
  podLabels: {team: messages}
  podAnnotations: {example.org/a: b}
  nodeSelector: {disk: ssd}
  tolerations: [{key: a, operator: Exists}]
  affinity: {nodeAffinity: {}}
  priorityClassName: high
  extraVolumes: [{name: files, emptyDir: {}}]
  extraVolumeMounts: [{name: files, mountPath: /files}]
podDisruptionBudget: {maxUnavailable: 25%}
autoscaling: {enabled: true, waitSeconds: 0.5}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
networkPolicy:
  enabled: true
  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  egress: [{to: [{podSelector: {matchLabels: {app: postgres}}}], ports: [{port: 5432}]}]
serviceAccount: {annotations: {a: b}}
`

func TestChart(t *testing.T) {
	for name, values := range map[string]string{"minimal": minimal, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			found := objects(t, values)
			checkWorkers(t, found)
			checkMigration(t, found)
		})
	}
}

func checkWorkers(t *testing.T, found map[string]object) {
	d := found["Deployment"].any.(*appsv1.Deployment)
	spec := d.Spec.Template.Spec
	checkPod(t, spec)
	c := spec.Containers[0]
	if got, want := argument(c.Args, "--name"), "$(POD_NAME)"; got != want {
		t.Errorf("--name is %q, want the pod's", got)
	}
	drain, lease := seconds(t, argument(c.Args, "--drain-timeout")), seconds(t, argument(c.Args, "--lease-ttl"))
	if grace := *spec.TerminationGracePeriodSeconds; grace < drain+2*lease+5 {
		t.Errorf("the grace period of %d s is too short for a drain of %d s and leases of %d s", grace, drain, lease)
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Error("readiness has to ask /readyz and liveness /healthz")
	}
	for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		if port := p.HTTPGet.Port.String(); port != c.Ports[0].Name {
			t.Errorf("a probe asks port %s, the container has %s", port, c.Ports[0].Name)
		}
	}
	mounted := map[string]bool{}
	for _, v := range spec.Volumes {
		mounted[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !mounted[m.Name] {
			t.Errorf("volume %s is mounted and not there", m.Name)
		}
	}
	checkFlags(t, "worker", "run", c.Args[1:], c.Env)

	pod := labels.Set(d.Spec.Template.Labels)
	selectors := map[string]labels.Selector{"Deployment": selector(t, d.Spec.Selector)}
	if o, ok := found["PodDisruptionBudget"]; ok {
		selectors[o.Kind] = selector(t, o.any.(*policyv1.PodDisruptionBudget).Spec.Selector)
	}
	if o, ok := found["NetworkPolicy"]; ok {
		selectors[o.Kind] = selector(t, &o.any.(*networkingv1.NetworkPolicy).Spec.PodSelector)
	}
	if o, ok := found["Service"]; ok {
		service := o.any.(*corev1.Service)
		selectors[o.Kind] = labels.SelectorFromSet(service.Spec.Selector)
		monitor := found["ServiceMonitor"].any.(*serviceMonitor)
		if !selector(t, &monitor.Spec.Selector).Matches(labels.Set(service.Labels)) {
			t.Error("the ServiceMonitor does not select the Service")
		}
		if monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
			t.Error("the ServiceMonitor asks a port that the Service does not have")
		}
	}
	for kind, s := range selectors {
		if !s.Matches(pod) {
			t.Errorf("%s does not select workers", kind)
		}
		if job := found["Job"].any.(*batchv1.Job); s.Matches(labels.Set(job.Spec.Template.Labels)) {
			t.Errorf("%s selects the migration", kind)
		}
	}
	if o, ok := found["ScaledObject"]; ok {
		s := o.any.(*scaledObject)
		if s.Spec.ScaleTargetRef.Name != d.Name || d.Spec.Replicas != nil {
			t.Error("the ScaledObject has to scale the Deployment, which has no replicas of its own then")
		}
		if s.Spec.MinReplicaCount > s.Spec.MaxReplicaCount {
			t.Error("the ScaledObject's minimum is above its maximum")
		}
		for _, trigger := range s.Spec.Triggers {
			checkQuery(t, "scaledobject.yaml", trigger.Metadata["query"])
		}
	}
}

func checkMigration(t *testing.T, found map[string]object) {
	job := found["Job"].any.(*batchv1.Job)
	spec := job.Spec.Template.Spec
	checkPod(t, spec)
	c := spec.Containers[0]
	if !slices.Equal(c.Args, []string{"migrate", "up"}) {
		t.Errorf("the migration runs %q", c.Args)
	}
	checkFlags(t, "worker", "migrate up", nil, c.Env)
	if job.Annotations["helm.sh/hook"] != "pre-install,pre-upgrade" {
		t.Error("the migration has to be a hook before install and upgrade")
	}
	name := found["Deployment"].any.(*appsv1.Deployment).Spec.Template.Spec.Volumes[0].Secret.SecretName
	secret, ok := found["Secret"]
	if !ok {
		if name != "mine" {
			t.Errorf("workers use Secret %s, want the one in secrets.existing", name)
		}
		return
	}
	if secret.meta.Annotations["helm.sh/hook"] != job.Annotations["helm.sh/hook"] {
		t.Error("the Secret has to be there when the migration runs")
	}
	s := secret.any.(*corev1.Secret)
	for _, e := range c.Env {
		if ref := e.ValueFrom.SecretKeyRef; ref.Name != s.Name || s.StringData[ref.Key] == "" {
			t.Errorf("%s is read from key %s of Secret %s, which is not there", e.Name, ref.Key, ref.Name)
		}
	}
	if s.StringData["api-id"] != "12345" {
		t.Errorf("api-id is %q", s.StringData["api-id"])
	}
}

// checkPod wants what Kubernetes calls the restricted standard, and more.
func checkPod(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Error("a token of the service account is mounted")
	}
	p := spec.SecurityContext
	if p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.RunAsUser == nil || *p.RunAsUser == 0 ||
		p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("the pod has to run as another user than root, with the runtime's seccomp profile")
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil ||
			!*s.ReadOnlyRootFilesystem || s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
			t.Errorf("container %s has more rights than it needs", c.Name)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("container %s has no resources", c.Name)
		}
		if strings.HasSuffix(c.Image, ":") || !strings.Contains(c.Image, ":") {
			t.Errorf("container %s has image %q, without a tag", c.Name, c.Image)
		}
	}
}

func selector(t *testing.T, s *metav1.LabelSelector) labels.Selector {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestChartRefuses(t *testing.T) {
	for values, want := range map[string]string{
		``: "secrets.create.database is missing",
		`secrets: {create: {database: postgres://a, redis: redis://b}}`: "secrets.create.key is missing",
		minimal + "\nreplica: 3":                        "replica",
		minimal + "\nreplicas: many":                    "replicas",
		minimal + "\nworker: {capacity: 0}":             "capacity",
		minimal + "\nworker: {drainSeconds: 30s}":       "drainSeconds",
		minimal + "\nworker: {extraArgs: [fetch-urls]}": "extraArgs",
		minimal + "\nautoscaling: {capacityUsed: 80}":   "capacityUsed",
		`secrets: {create: {database: mysql://a}}`:      "database",
	} {
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is answered with %v, want one about %s", values, err, want)
		}
	}
}

func TestChartDefaultsDeliberate(t *testing.T) {
	found := objects(t, minimal)
	for _, kind := range []string{"ScaledObject", "ServiceMonitor", "Service", "NetworkPolicy", "Secret"} {
		if o, ok := found[kind]; ok {
			t.Errorf("%s is there unasked", o)
		}
	}
	if got := *found["Deployment"].any.(*appsv1.Deployment).Spec.Template.Spec.TerminationGracePeriodSeconds; got != 65 {
		t.Errorf("the grace period is %d s", got)
	}
	given := objects(t, minimal+"\nworker: {terminationGracePeriodSeconds: 100}")
	if got := *given["Deployment"].any.(*appsv1.Deployment).Spec.Template.Spec.TerminationGracePeriodSeconds; got != 100 {
		t.Errorf("a grace period of 100 s is rendered as %d s", got)
	}
	off := objects(t, minimal+"\nmigrate: {enabled: false}\npodDisruptionBudget: {enabled: false}\nserviceAccount: {create: false}")
	if len(off) != 1 {
		t.Errorf("with all switched off there is more than the workers: %v", slices.Sorted(maps.Keys(off)))
	}
}

// TestChartValuesAreDocumented wants every value in the schema, in values.yaml
// and in the README's table.
func TestChartValuesAreDocumented(t *testing.T) {
	var values map[string]any
	read(t, chartDir+"/values.yaml", &values)
	var schema map[string]any
	text, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chartDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any, schema map[string]any)
	walk = func(at string, v any, schema map[string]any) {
		props, _ := schema["properties"].(map[string]any)
		if props == nil {
			group := at[:strings.LastIndex(at, ".")+1]
			last := at[len(group):]
			if !strings.Contains(string(readme), "`"+at+"`") && !(strings.Contains(string(readme), "| `"+group) && strings.Contains(string(readme), "`."+last+"`")) {
				t.Errorf("value %s is not in the README", at)
			}
			return
		}
		m, _ := v.(map[string]any)
		for name, sub := range props {
			if at == "" && name == "global" { // Helm's own
				continue
			}
			if _, ok := m[name]; !ok {
				t.Errorf("value %s is in the schema and not in values.yaml", strings.TrimPrefix(at+"."+name, "."))
			}
			walk(strings.TrimPrefix(at+"."+name, "."), m[name], sub.(map[string]any))
		}
	}
	walk("", values, schema)
}

// Types of operators: what of them the chart uses.
type (
	scaledObject struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			ScaleTargetRef  struct{ Name string }
			MinReplicaCount int
			MaxReplicaCount int
			Fallback        struct {
				FailureThreshold, Replicas int
				Behavior                   string
			}
			Advanced struct {
				HorizontalPodAutoscalerConfig struct{ Behavior map[string]any }
			}
			Triggers []struct {
				Type, MetricType string
				Metadata         map[string]string
			}
		}
	}
	serviceMonitor struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Selector  metav1.LabelSelector
			Endpoints []struct{ Port, Path, Interval string }
		}
	}
)
