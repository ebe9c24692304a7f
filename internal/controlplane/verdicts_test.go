package controlplane

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/validate"
)

// The tables of verdicts follow the published validation of Istio (pkg/config/validation) and, for routes, that of the
// Gateway API's definitions, in cases of our own. What Istio takes and Fairlead does not obey is warned of; nothing that
// one of them refuses is accepted.

// judgement is what becomes of an object.
type judgement uint8

const (
	// fine objects are accepted without a word.
	fine judgement = iota + 1
	// warned objects are accepted with a warning.
	warned
	// refused objects are not accepted.
	refused
)

func (j judgement) String() string { return [...]string{"unset", "fine", "warned", "refused"}[j] }

// ruling is one object and what has to become of it.
type ruling struct {
	name string
	want judgement
	// field is where the first problem is, or an end of its path; empty asks for nothing.
	field string
	// spec is the object's, or a part that the table completes.
	spec string
}

// verdictWorld is in force when objects are judged.
const verdictWorld = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {fairlead.dev/inject: enabled}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {clusterIP: 10.0.0.2, ports: [{name: grpc, port: 9090}, {name: tcp-db, port: 3307}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: billing, namespace: other}, spec: {clusterIP: 10.0.0.3, ports: [{name: http, port: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: web, namespace: shop}, spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: wild, namespace: shop}, spec: {hosts: ["*.example.com"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}}
`

// head is apiVersion and kind of an object, in YAML.
type head struct{ apiVersion, kind string }

// judge gives what `fairlead validate` and admission make of an object, and what they say. The two have to agree.
func judgeBoth(t *testing.T, p *ControlPlane, h head, spec string) (judgement, []string) {
	t.Helper()
	object := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: judged, namespace: shop}\nspec: %s\n", h.apiVersion, h.kind, indented(spec))
	ref := model.Ref{Kind: h.kind, Key: model.Key{Namespace: "shop", Name: "judged"}}
	objects, read := file.Decode("a.yaml", []byte(verdictWorld+"---\n"+object))
	var refusals, warnings []string
	for _, problem := range validate.Objects(objects, read, "cluster.local") {
		if problem.Ref != ref {
			continue
		}
		problem.Pos = model.Position{}
		severity, line, _ := strings.Cut(problem.String(), ": ")
		if severity == "error" {
			refusals = append(refusals, line)
		} else {
			warnings = append(warnings, line)
		}
	}
	raw, err := yaml.YAMLToJSON([]byte(object))
	if err != nil {
		t.Fatalf("%v in\n%s", err, object)
	}
	r := askAdmission(t, p.validator(), admissionv1.Create, string(raw), "")
	switch {
	case r.Allowed != (len(refusals) == 0):
		t.Errorf("admission allows it: %v %+v; validate says %q", r.Allowed, r.Result, refusals)
	case r.Allowed && strings.Join(r.Warnings, "\n") != strings.Join(prefixed(warnings), "\n"):
		t.Errorf("admission warns\n%q\nvalidate warns\n%q", r.Warnings, warnings)
	case !r.Allowed && r.Result.Message != "fairlead: "+strings.Join(refusals, "; "):
		t.Errorf("admission refuses for\n%s\nvalidate for\n%q", r.Result.Message, refusals)
	}
	switch {
	case len(refusals) > 0:
		return refused, refusals
	case len(warnings) > 0:
		return warned, warnings
	}
	return fine, nil
}

func prefixed(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = "fairlead: " + line
	}
	return out
}

// indented makes a spec of several lines one that stands below its key.
func indented(spec string) string {
	if !strings.Contains(spec, "\n") {
		return spec
	}
	return "\n  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
}

// rule judges the objects of a table.
func rule(t *testing.T, h head, complete func(string) string, table []ruling) {
	t.Helper()
	p := &ControlPlane{engine: engineWith(t, verdictWorld), metrics: newMetrics("test")}
	for _, tt := range table {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			got, said := judgeBoth(t, p, h, complete(tt.spec))
			if got != tt.want {
				t.Fatalf("%s, want %s: %q", got, tt.want, said)
			}
			if tt.field != "" && !strings.Contains(said[0], tt.field+": ") {
				t.Errorf("it says %q, want a problem at %s", said, tt.field)
			}
		})
	}
}

func whole(spec string) string { return spec }

// TestVerdictsAreMany keeps the tables from being thinned out.
func TestVerdictsAreMany(t *testing.T) {
	total, kinds := 0, map[string]int{}
	for kind, table := range allVerdicts() {
		kinds[kind] = len(table)
		total += len(table)
	}
	text, err := json.Marshal(kinds)
	if err != nil || total < 380 {
		t.Errorf("%d verdicts: %s %v", total, text, err)
	}
}

func allVerdicts() map[string][]ruling {
	return map[string][]ruling{
		"VirtualService": append(append(append(append(append(virtualServices(), rarerHTTPRules()...), delegateRules()...), httpRules()...), httpMatches()...), tcpRules()...), "DestinationRule": append(append(destinationRules(), trafficPolicies()...), rarerPolicies()...),
		"ServiceEntry": append(serviceEntries(), rarerServiceEntries()...), "WorkloadEntry": workloadEntries(), "HealthCheckPolicy": healthCheckPolicies(), "PeerAuthentication": peerAuthentications(), "Telemetry": telemetries(),
		"HTTPRoute": httpRoutes(), "GRPCRoute": grpcRoutes(), "TLSRoute": connectionRoutes(), "TCPRoute": unnamedRoutes(), "TrafficSplit": trafficSplits(), "HTTPRouteGroup": routeGroups(),
	}
}
