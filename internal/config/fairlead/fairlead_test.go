package fairlead_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/config/fairlead"
	"fairlead.dev/fairlead/internal/model"
)

const target = `targetRefs: [{group: "", kind: Service, name: reviews}]`

func policy(tb testing.TB, spec string) *fairlead.HealthCheckPolicy {
	tb.Helper()
	p := &fairlead.HealthCheckPolicy{}
	if err := yaml.UnmarshalStrict([]byte("metadata: {name: reviews, namespace: shop, generation: 2}\nspec: {"+spec+"}\n"), p); err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestRead(t *testing.T) {
	reviews := []model.PolicyTarget{{
		Ref: model.Ref{Kind: "Service", Key: model.Key{Namespace: "shop", Name: "reviews"}}, Field: "spec.targetRefs[0]",
	}}
	tests := []struct {
		name, spec string
		want       model.HealthCheck
	}{
		{"defaults", target + `, http: {}`, model.HealthCheck{
			HTTP: &model.HTTPCheck{Path: "/"}, Interval: 10 * time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 3,
		}},
		{"everything", target + `, http: {path: "/ready?full=1", host: reviews.example, headers: [{name: x-a, value: b}], expectedStatuses: [200, 503]},
			port: 9090, interval: 2s500ms, timeout: 2s, healthyThreshold: 2, unhealthyThreshold: 4`, model.HealthCheck{
			Port: 9090, HTTP: &model.HTTPCheck{
				Path: "/ready?full=1", Host: "reviews.example", Headers: []model.HeaderValue{{Name: "x-a", Value: "b"}}, Statuses: []int{200, 503},
			},
			Interval: 2500 * time.Millisecond, Timeout: 2 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 4,
		}},
		{"the timeout that is not said is no longer than the interval", target + `, grpc: {service: a.B}, interval: 500ms`, model.HealthCheck{
			GRPC: &model.GRPCCheck{Service: "a.B"}, Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, HealthyThreshold: 1, UnhealthyThreshold: 3,
		}},
		{"tcp", target + `, tcp: {send: "PING\r\n", receive: PONG}`, model.HealthCheck{
			TCP: &model.TCPCheck{Send: "PING\r\n", Receive: "PONG"}, Interval: 10 * time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 3,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := fairlead.Read(policy(t, tt.spec))
			if len(problems) > 0 || got == nil {
				t.Fatalf("problems: %v", problems)
			}
			if diff := cmp.Diff(&model.HealthCheckPolicy{
				Ref: model.Ref{Kind: "HealthCheckPolicy", Key: model.Key{Namespace: "shop", Name: "reviews"}}, Targets: reviews, Check: tt.want,
			}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, spec, want string }{
		{"no target", `targetRefs: [], http: {}`, "spec.targetRefs: no target"},
		{"a target of another kind", `targetRefs: [{group: apps, kind: Deployment, name: a}], http: {}`, `spec.targetRefs[0]: group "apps", kind "Deployment"`},
		{"a Service of another group", `targetRefs: [{group: networking.istio.io, kind: Service, name: a}], http: {}`, `spec.targetRefs[0]: group`},
		{"a target twice", `targetRefs: [{group: "", kind: Service, name: a}, {group: "", kind: Service, name: a}], http: {}`, "spec.targetRefs[1]: Service shop/a is spec.targetRefs[0] already"},
		{"no form", target, "spec: 0 of http, tcp and grpc are given"},
		{"two forms", target + `, http: {}, grpc: {}`, "spec: 2 of http, tcp and grpc are given"},
		{"no duration", target + `, http: {}, interval: 1.5s`, `spec.interval: "1.5s" is not a duration`},
		{"an interval of nothing", target + `, http: {}, interval: 0s`, `spec.interval: "0s" is not a duration`},
		{"an interval that is a load", target + `, http: {}, interval: 100ms`, "spec.interval: 100ms is out of range"},
		{"a timeout that is too short", target + `, http: {}, timeout: 1ms`, "spec.timeout: 1ms is too short"},
		{"a timeout beyond the interval", target + `, http: {}, interval: 2s, timeout: 3s`, "spec.timeout: 3s is longer than the interval, 2s"},
		{"no threshold", target + `, http: {}, unhealthyThreshold: 0`, "spec.unhealthyThreshold: 0 is out of range"},
		{"no port", target + `, http: {}, port: 70000`, "spec.port: 70000 is not a port"},
		{"no path", target + `, http: {path: healthz}`, `spec.http.path: "healthz" is not a path`},
		{"a path with a line of its own", target + `, http: {path: "/a\r\nx: y"}`, "spec.http.path: "},
		{"no header name", target + `, http: {headers: [{name: "x y", value: a}]}`, `spec.http.headers[0].name: "x y" is not a header name`},
		{"the Host header", target + `, http: {headers: [{name: Host, value: a}]}`, "spec.http.headers[0].name: the Host header"},
		{"a header of the connection", target + `, http: {headers: [{name: Connection, value: a}]}`, `spec.http.headers[0].name: "Connection" is the connection's own`},
		{"a header value of two lines", target + `, http: {headers: [{name: a, value: "b\nc"}]}`, "spec.http.headers[0].value: a header value has one line"},
		{"no status", target + `, http: {expectedStatuses: [200, 100]}`, "spec.http.expectedStatuses[1]: 100 is not the status"},
		{"too long", target + `, tcp: {receive: "` + strings.Repeat("a", 1025) + `"}`, "spec.tcp.receive: 1025 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := fairlead.Read(policy(t, tt.spec))
			if got != nil || len(problems) == 0 {
				t.Fatalf("= %+v, %v, want a refusal", got, problems)
			}
			if p := problems[0]; p.Severity != model.Rejected || !strings.HasPrefix(p.Field+": "+p.Message, tt.want) {
				t.Errorf("= %s, want %q", p, tt.want)
			}
		})
	}
	t.Run("a name that is no part of a condition", func(t *testing.T) {
		p := policy(t, target+`, http: {}`)
		p.Name = strings.Repeat("a", 64)
		if got, problems := fairlead.Read(p); got != nil || len(problems) != 1 || problems[0].Field != "metadata.name" {
			t.Errorf("= %v, %v", got, problems)
		}
	})
}

func TestATCPCheckThatAHangingAppPassesIsWarnedOf(t *testing.T) {
	got, problems := fairlead.Read(policy(t, target+`, tcp: {}`))
	if got == nil || len(problems) != 1 || problems[0].Severity != model.Warning || problems[0].Field != "spec.tcp" {
		t.Errorf("= %v, %v", got, problems)
	}
}

func TestStatus(t *testing.T) {
	p := policy(t, `targetRefs: [{group: "", kind: Service, name: a}, {group: networking.istio.io, kind: ServiceEntry, name: b}], http: {}`)
	first, later := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	found := []model.ParentStatus{
		{Field: "spec.targetRefs[0]", Accepted: model.Condition{Holds: true, Reason: "Accepted", Message: "in force"}},
		{Field: "spec.targetRefs[1]", Accepted: model.Condition{Reason: "TargetNotFound", Message: "not known"}},
	}
	stranger := gatewayv1.PolicyAncestorStatus{ControllerName: "example.com/other", AncestorRef: gatewayv1.ParentReference{Name: "x"}}
	before := fairlead.MergeStatus([]gatewayv1.PolicyAncestorStatus{stranger}, fairlead.Status(p, found, first))
	if len(before) != 3 || before[0].ControllerName != stranger.ControllerName || before[1].AncestorRef.Name != "a" || *before[2].AncestorRef.Kind != "ServiceEntry" {
		t.Fatalf("= %+v", before)
	}
	found[1].Accepted = model.Condition{Holds: true, Reason: "Accepted", Message: "in force"}
	p.Generation = 3
	after := fairlead.MergeStatus(before, fairlead.Status(p, found, later))
	want := []metav1.Condition{
		{Type: "Accepted", Status: "True", Reason: "Accepted", Message: "in force", ObservedGeneration: 3, LastTransitionTime: first},
		{Type: "Accepted", Status: "True", Reason: "Accepted", Message: "in force", ObservedGeneration: 3, LastTransitionTime: later},
	}
	if len(after) != 3 {
		t.Fatalf("= %+v", after)
	}
	if diff := cmp.Diff(want, append(after[1].Conditions, after[2].Conditions...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(after, fairlead.MergeStatus(after, fairlead.Status(p, found, later))); diff != "" {
		t.Errorf("writing the same again changes (-want +got):\n%s", diff)
	}
	p.Spec.TargetRefs = p.Spec.TargetRefs[:1]
	if left := fairlead.MergeStatus(after, fairlead.Status(p, found, later)); len(left) != 2 {
		t.Errorf("a target that is named no more: %+v", left)
	}
}

func TestRefused(t *testing.T) {
	p := policy(t, target+`, http: {path: a}`)
	_, problems := fairlead.Read(p)
	got := fairlead.Status(p, fairlead.Refused(p, problems), metav1.Now())
	if len(got) != 1 || got[0].Conditions[0].Status != "False" || got[0].Conditions[0].Reason != "Invalid" || !strings.Contains(got[0].Conditions[0].Message, "spec.http.path") {
		t.Errorf("= %+v", got)
	}
}

// TestDefinitionHasTheFieldsOfTheType compares the names of the fields, not what may stand in them.
func TestDefinitionHasTheFieldsOfTheType(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/chart/files/crds/fairlead/healthcheckpolicies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	root := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	compare(t, "spec", reflect.TypeFor[fairlead.HealthCheckPolicySpec](), root.Properties["spec"])
	compare(t, "status", reflect.TypeFor[gatewayv1.PolicyStatus](), root.Properties["status"])
}

type schema struct {
	Properties map[string]schema
	Items      *schema
}

func compare(t *testing.T, path string, typ reflect.Type, s schema) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		if typ.Kind() == reflect.Slice && s.Items != nil {
			s = *s.Items
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[metav1.Time]() {
		return
	}
	var fields, properties []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, name)
		compare(t, path+"."+name, f.Type, s.Properties[name])
	}
	for name := range s.Properties {
		properties = append(properties, name)
	}
	slices.Sort(fields)
	slices.Sort(properties)
	if diff := cmp.Diff(fields, properties); diff != "" {
		t.Errorf("%s (-type +definition):\n%s", path, diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("/healthz", "10s", "1s", "x-a", "PING", int32(200), int32(8080))
	f.Fuzz(func(t *testing.T, path, interval, timeout, header, send string, status, port int32) {
		i, o := gatewayv1.Duration(interval), gatewayv1.Duration(timeout)
		for _, spec := range []fairlead.HealthCheckPolicySpec{
			{HTTP: &fairlead.HTTPCheck{Path: path, Host: send, Headers: []fairlead.HTTPHeader{{Name: header, Value: send}}, ExpectedStatuses: []int32{status}}},
			{TCP: &fairlead.TCPCheck{Send: send, Receive: path}},
		} {
			spec.TargetRefs = []gatewayv1.LocalPolicyTargetReference{{Kind: "Service", Name: "a"}}
			spec.Interval, spec.Timeout, spec.Port, spec.HealthyThreshold, spec.UnhealthyThreshold = &i, &o, &port, &status, &port
			got, problems := fairlead.Read(&fairlead.HealthCheckPolicy{Spec: spec})
			if (got == nil) == (len(problems) == 0) && got == nil {
				t.Fatal("neither a value nor a problem")
			}
			if got == nil {
				continue
			}
			if c := got.Check; c.Interval <= 0 || c.Timeout <= 0 || c.Timeout > c.Interval || c.HealthyThreshold == 0 || c.UnhealthyThreshold == 0 {
				t.Fatalf("in force: %+v", c)
			}
		}
	})
}
