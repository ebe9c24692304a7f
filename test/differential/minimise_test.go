//go:build envoy

package differential_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// candidates bounds how many smaller forms are tried at once, rounds how often.
const (
	candidates = 120
	rounds     = 40
)

// minimise looks for the smallest rules and the smallest request that still have different ends. Each round tries all forms from
// which one thing is left out, each as a host of its own, and goes on from the smallest that differs.
func minimise(t *testing.T, from asked, diff string) (asked, string) {
	t.Helper()
	for round := range rounds {
		var found bool
		t.Run(fmt.Sprint("smaller_", round), func(t *testing.T) {
			hosts, all := smaller(t, from)
			for i, d := range compare(t, hosts, all, map[string]int{}) {
				if d != "" { // the smallest come first
					from, diff, found = all[i], d, true
					return
				}
			}
		})
		if !found {
			break
		}
	}
	return from, diff
}

// smaller lists what there is to try, the smallest first.
func smaller(t *testing.T, from asked) ([]host, []asked) {
	t.Helper()
	var forms []asked
	for _, q := range from.request.smaller(from.host.name) {
		forms = append(forms, asked{from.host, q})
	}
	for _, rule := range smallerRules(t, from.host.rule) {
		h := *from.host
		h.rule = rule
		forms = append(forms, asked{&h, from.request})
	}
	slices.SortStableFunc(forms, func(a, b asked) int { return cmp.Compare(a.size(), b.size()) })
	hosts, all := make([]host, 0, candidates), make([]asked, 0, candidates)
	for _, f := range forms {
		if len(hosts) == candidates {
			break
		}
		h := renamed(f, fmt.Sprint("less-", len(hosts)))
		ports := map[string]uint16{}
		if !obeyed(t, surroundings(ports)+h.host.manifests(len(hosts), ports)) {
			continue
		}
		hosts = append(hosts, *h.host)
		all = append(all, asked{&hosts[len(hosts)-1], h.request})
	}
	return hosts, all
}

func (a *asked) size() int { return len(a.host.rule) + len(a.request.String()) }

// renamed gives a host another name, wherever it is.
func renamed(a asked, name string) asked {
	word := regexp.MustCompile(`\b` + regexp.QuoteMeta(a.host.name) + `\b`)
	h := *a.host
	h.name, h.rule = name, word.ReplaceAllString(h.rule, name)
	a.host, a.request.host = &h, word.ReplaceAllString(a.request.host, name)
	return a
}

// smaller are requests with one thing less.
func (q *request) smaller(host string) []request {
	var out []request
	with := func(change func(q *request)) {
		next := q.clone()
		change(&next)
		if next.String() != q.String() {
			out = append(out, next)
		}
	}
	for name := range q.header {
		with(func(q *request) { q.header.Del(name) })
	}
	with(func(q *request) { q.method, q.body = http.MethodGet, "" })
	with(func(q *request) { q.body = "" })
	with(func(q *request) { q.target = "/" })
	with(func(q *request) { q.target, _, _ = strings.Cut(q.target, "?") })
	with(func(q *request) { q.host = host })
	return out
}

// smallerRules are the objects that a manifest becomes when one field or one element of its spec is left out.
func smallerRules(t *testing.T, manifest string) []string {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, spec := range without(object["spec"]) {
		next := maps.Clone(object)
		next["spec"] = spec
		text, err := yaml.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

// chosenBy are the fields without which chance chooses a backend, and any two ends may differ: no rule is for the host, or none says
// which of its endpoints.
var chosenBy = map[string]bool{"subset": true, "weight": true, "hosts": true, "parentRefs": true, "http": true, "rules": true}

// without gives a value with each part left out in turn, at every depth.
func without(v any) (out []any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !chosenBy[key] {
				less := maps.Clone(v)
				delete(less, key)
				out = append(out, less)
			}
			for _, part := range without(v[key]) {
				next := maps.Clone(v)
				next[key] = part
				out = append(out, next)
			}
		}
	case []any:
		for i := range v {
			if len(v) > 1 {
				out = append(out, slices.Delete(slices.Clone(v), i, i+1))
			}
			for _, part := range without(v[i]) {
				next := slices.Clone(v)
				next[i] = part
				out = append(out, next)
			}
		}
	}
	return out
}

// TestMinimise leaves out of rules and requests what a difference does not need; what differs is made up here.
func TestMinimise(t *testing.T) {
	rule := `apiVersion: v1
kind: Rule
metadata: {name: web-1}
spec:
  http: [{match: [{a: b}, {c: d}], route: [{x: y}]}, {route: [{z: z}]}]
`
	q := request{host: "web-1:8080", method: "POST", target: "/a?b=c", body: "x", header: http.Header{"A": {"b"}, "C": {"d"}}}
	differs := func(rule string, q *request) bool { return strings.Contains(rule, "c: d") && q.header.Get("A") == "b" }
	for {
		next, nextQuery := "", request{}
		for _, r := range smallerRules(t, rule) {
			if differs(r, &q) {
				next = r
				break
			}
		}
		for _, r := range q.smaller("web-1") {
			if differs(rule, &r) {
				nextQuery = r
				break
			}
		}
		if next == "" && nextQuery.method == "" {
			break
		}
		if next != "" {
			rule = next
		}
		if nextQuery.method != "" {
			q = nextQuery
		}
	}
	const want = "apiVersion: v1\nkind: Rule\nmetadata:\n  name: web-1\nspec:\n  http:\n  - match:\n    - c: d\n"
	if rule != want {
		t.Errorf("the rule is\n%s\nwant\n%s", rule, want)
	}
	if got := q.String(); got != "GET /\nhost: web-1\nA: b\r\n" {
		t.Errorf("the request is %q", got)
	}
}
