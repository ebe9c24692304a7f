package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// newRequest builds a request head; headers are "name: value".
func newRequest(method, authority, path string, headers ...string) *httpx.Request {
	req := &httpx.Request{
		Version: httpx.HTTP11, Method: []byte(method), Scheme: []byte("http"), Authority: []byte(authority), Path: []byte(path),
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Fields.AddString(name, value)
	}
	return req
}

func mustCompile(tb testing.TB, routes ...plan.Route) *Table {
	tb.Helper()
	table, err := Compile(routes)
	if err != nil {
		tb.Fatalf("Compile: %v", err)
	}
	return table
}

func exact(v string) *model.StringMatch  { return &model.StringMatch{Kind: model.Exact, Value: v} }
func prefix(v string) *model.StringMatch { return &model.StringMatch{Kind: model.Prefix, Value: v} }
func regex(v string) *model.StringMatch  { return &model.StringMatch{Kind: model.Regex, Value: v} }
func segments(v string) *model.StringMatch {
	return &model.StringMatch{Kind: model.PathPrefix, Value: v}
}

func named(name string, m *model.StringMatch) []model.NamedMatch {
	return []model.NamedMatch{{Name: name, Match: *m}}
}

func without(name string, m *model.StringMatch) []model.NamedMatch {
	return []model.NamedMatch{{Name: name, Match: *m, Invert: true}}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	present := &model.StringMatch{Kind: model.Present}
	get := func(path string, headers ...string) *httpx.Request {
		return newRequest("GET", "users:8080", path, headers...)
	}
	upgrade := get("/")
	upgrade.Upgrade = []byte("websocket")
	upload := newRequest("POST", "users", "/")
	upload.ContentLength = 12
	tests := []struct {
		name  string
		match model.HTTPMatch
		req   *httpx.Request
		want  bool
	}{
		{"no condition takes all", model.HTTPMatch{}, get("/a"), true},
		{"an exact path leaves the query out", model.HTTPMatch{URI: exact("/a")}, get("/a?x=1"), true},
		{"an exact path leaves a fragment out", model.HTTPMatch{URI: exact("/a")}, get("/a#x?y"), true},
		{"an exact path takes no longer one", model.HTTPMatch{URI: exact("/a")}, get("/ab"), false},
		{"a prefix is text", model.HTTPMatch{URI: prefix("/a")}, get("/ab"), true},
		{"a prefix does not reach into the query", model.HTTPMatch{URI: prefix("/a?x")}, get("/a?x=1"), false},
		{"segments end at a slash", model.HTTPMatch{URI: segments("/a")}, get("/ab"), false},
		{"segments take the path itself", model.HTTPMatch{URI: segments("/a")}, get("/a"), true},
		{"segments take what is below", model.HTTPMatch{URI: segments("/a")}, get("/a/b"), true},
		{"a slash behind segments does not count", model.HTTPMatch{URI: segments("/a/")}, get("/a"), true},
		{"the root's segments take all", model.HTTPMatch{URI: segments("/")}, get("/a"), true},
		{"a pattern matches the whole path", model.HTTPMatch{URI: regex("/a")}, get("/ab"), false},
		{"a pattern does not see the query", model.HTTPMatch{URI: regex("/a/[0-9]+")}, get("/a/7?x"), true},
		{
			"case can be ignored",
			model.HTTPMatch{URI: &model.StringMatch{Kind: model.Prefix, Value: "/Users", IgnoreCase: true}},
			get("/uSERS/1"), true,
		},
		{"the authority has its port", model.HTTPMatch{Authority: exact("users")}, get("/"), false},
		{"the authority is compared as given", model.HTTPMatch{Authority: exact("users:8080")}, get("/"), true},
		{"the method counts case", model.HTTPMatch{Method: exact("get")}, get("/"), false},
		{"the scheme is compared", model.HTTPMatch{Scheme: exact("https")}, get("/"), false},
		{"the port is the one called", model.HTTPMatch{Port: 80}, get("/"), true},
		{"another port is not", model.HTTPMatch{Port: 81}, get("/"), false},
		{"header names have no case", model.HTTPMatch{Headers: named("X-User", exact("a"))}, get("/", "x-user: a"), true},
		{"cookies are joined as cookies are", model.HTTPMatch{Headers: named("Cookie", exact("a=1; b=2; c=3"))}, get("/", "cookie: a=1; b=2", "y: 1", "Cookie: c=3"), true},
		{"values of one header are joined", model.HTTPMatch{Headers: named("x", exact("a,b"))}, get("/", "x: a", "y: 1", "X: b"), true},
		{"one value of several is not enough", model.HTTPMatch{Headers: named("x", exact("a"))}, get("/", "x: a", "x: b"), false},
		{"a missing header has no value", model.HTTPMatch{Headers: named("x", regex(".*"))}, get("/"), false},
		{"an empty header is present", model.HTTPMatch{Headers: named("x", present)}, get("/", "x: "), true},
		{"without takes the missing one", model.HTTPMatch{Headers: without("x", exact("a"))}, get("/"), true},
		{"without takes another value", model.HTTPMatch{Headers: without("x", exact("a"))}, get("/", "x: b"), true},
		{"without refuses the value", model.HTTPMatch{Headers: without("x", exact("a"))}, get("/", "x: a"), false},
		{"without reads missing as empty", model.HTTPMatch{Headers: without("x", regex(".*"))}, get("/"), false},
		{"without presence takes the missing one", model.HTTPMatch{Headers: without("x", present)}, get("/"), true},
		{"without presence refuses an empty one", model.HTTPMatch{Headers: without("x", present)}, get("/", "x: "), false},
		{"host is the authority", model.HTTPMatch{Headers: named("Host", exact("users:8080"))}, get("/"), true},
		{"pseudo-headers can be named", model.HTTPMatch{Headers: named(":path", prefix("/a?"))}, get("/a?b"), true},
		{"upgrade is known apart", model.HTTPMatch{Headers: named("upgrade", exact("websocket"))}, upgrade, true},
		{"no upgrade, no header", model.HTTPMatch{Headers: named("upgrade", present)}, get("/"), false},
		{"content-length is known apart", model.HTTPMatch{Headers: named("content-length", exact("12"))}, upload, true},
		{"a parameter is compared", model.HTTPMatch{Query: named("v", exact("2"))}, get("/?u=1&v=2"), true},
		{"the first of a name counts", model.HTTPMatch{Query: named("v", exact("2"))}, get("/?v=1&v=2"), false},
		{"a parameter may have no value", model.HTTPMatch{Query: named("v", exact(""))}, get("/?v"), true},
		{"a missing parameter has no value", model.HTTPMatch{Query: named("v", exact(""))}, get("/?u"), false},
		{"a parameter is decoded", model.HTTPMatch{Query: named("v", exact("a b&c"))}, get("/?v=a+b%26c"), true},
		{"a parameter also matches as sent", model.HTTPMatch{Query: named("v", exact("a%20b"))}, get("/?v=a%20b"), true},
		{"a name is decoded", model.HTTPMatch{Query: named("a b", present)}, get("/?a%20b=1"), true},
		{"bad encoding stays", model.HTTPMatch{Query: named("v", exact("%zz%1"))}, get("/?v=%zz%1"), true},
		{"all conditions must hold", model.HTTPMatch{URI: exact("/a"), Method: exact("POST")}, get("/a"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := mustCompile(t, plan.Route{Matches: []model.HTTPMatch{tt.match}})
			if got := table.Match(tt.req, Caller{}, 80) != nil; got != tt.want {
				t.Errorf("Match(%+v) = %v, want %v", tt.match, got, tt.want)
			}
		})
	}
}

func TestMatchTakesTheFirst(t *testing.T) {
	t.Parallel()
	from := Caller{Namespace: "myapp", Labels: map[string]string{"app": "web", "tier": "front"}}
	table := mustCompile(t,
		plan.Route{Name: "other namespace", Matches: []model.HTTPMatch{{SourceNamespace: "other"}}},
		plan.Route{Name: "other label", Matches: []model.HTTPMatch{{SourceLabels: map[string]string{"app": "batch"}}}},
		plan.Route{Name: "label without value", Matches: []model.HTTPMatch{{SourceLabels: map[string]string{"nothing": ""}}}},
		plan.Route{Name: "mine", Matches: []model.HTTPMatch{
			{URI: exact("/nobody")}, {SourceNamespace: "myapp", SourceLabels: map[string]string{"app": "web"}, URI: prefix("/a")},
		}},
		plan.Route{Name: "rest"},
		plan.Route{Name: "never"},
	)
	for path, want := range map[string]string{"/a/b": "mine", "/nobody": "mine", "/c": "rest"} {
		if got := table.Match(newRequest("GET", "users", path), from, 80).Plan.Name; got != want {
			t.Errorf("Match(%s) = %q, want %q", path, got, want)
		}
	}
	if got := mustCompile(t).Match(newRequest("GET", "users", "/"), Caller{}, 80); got != nil {
		t.Errorf("Match without routes = %+v, want nil", got)
	}
}

func TestCompileNamesTheRoute(t *testing.T) {
	t.Parallel()
	bad := []plan.Route{
		{Matches: []model.HTTPMatch{{URI: regex("(")}}},
		{Matches: []model.HTTPMatch{{Headers: named("x", regex("("))}}},
		{Matches: []model.HTTPMatch{{Query: named("x", regex("("))}}},
		{Rewrite: &model.Rewrite{Regex: "("}},
		{Backends: []plan.WeightedBackend{{Rewrite: &model.Rewrite{Regex: "("}}}},
	}
	for _, r := range bad {
		r.Name, r.Origin = "canary", "VirtualService myapp/users http[3]"
		_, err := Compile([]plan.Route{r})
		if err == nil || !strings.Contains(err.Error(), r.Origin) {
			t.Errorf("Compile(%+v) = %v, want an error that names %s", r, err, r.Origin)
		}
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	const draws = 10000
	table := mustCompile(t, plan.Route{Backends: []plan.WeightedBackend{
		{Backend: 3, Weight: 90}, {Backend: 5, Weight: 0}, {Backend: 7, Weight: 10},
	}})
	r := table.Match(newRequest("GET", "users", "/"), Caller{}, 80)
	got := map[uint16]int{}
	random := rand.New(rand.NewPCG(1, 2))
	for range draws {
		got[r.Pick(random.Uint64()).Index]++
	}
	if got[5] != 0 || got[3] < 8800 || got[3] > 9200 || got[3]+got[7] != draws {
		t.Errorf("Pick spread %v, want about 9000 for 3, 0 for 5, 1000 for 7", got)
	}
	if first, last := r.Pick(0).Index, r.Pick(math.MaxUint64).Index; first != 3 || last != 7 {
		t.Errorf("Pick(0), Pick(max) = %d, %d, want 3, 7", first, last)
	}
	none := mustCompile(t, plan.Route{}).Match(newRequest("GET", "users", "/"), Caller{}, 80)
	if b := none.Pick(1); b != nil {
		t.Errorf("Pick without backends = %+v, want nil", b)
	}
	zero := mustCompile(t, plan.Route{Backends: []plan.WeightedBackend{{}, {}}}).Match(newRequest("GET", "users", "/"), Caller{}, 80)
	if b := zero.Pick(1); b != nil {
		t.Errorf("Pick without weights = %+v, want nil", b)
	}
}

// TestMatchAllocates is the budget of the hot path: nothing per request once the buffers have their size.
func TestMatchAllocates(t *testing.T) {
	table := mustCompile(t,
		plan.Route{Matches: []model.HTTPMatch{{URI: regex("/v[0-9]+/nothing"), Scheme: regex("https?")}}},
		plan.Route{Matches: []model.HTTPMatch{{Headers: named("x-user", regex("(alice|bob),carol"))}}},
		plan.Route{Matches: []model.HTTPMatch{{Query: named("name", exact("no body"))}}},
		plan.Route{
			Matches: []model.HTTPMatch{{URI: prefix("/api/"), Method: exact("GET"), Headers: without("x-test", exact("1"))}},
			Rewrite: &model.Rewrite{Path: "/", HasPath: true, ReplacePrefix: true, Authority: "other"},
			Headers: model.HeaderOps{
				Request:  model.HeaderChange{Set: []model.HeaderValue{{Name: "x-a", Value: "1"}}, Remove: []string{"x-secret"}},
				Response: model.HeaderChange{Add: []model.HeaderValue{{Name: "x-b", Value: "2"}}},
			},
			Backends: []plan.WeightedBackend{
				{Backend: 0, Weight: 1, Headers: model.HeaderOps{Request: model.HeaderChange{Add: []model.HeaderValue{{Name: "x-c", Value: "3"}}}}},
				{Backend: 1, Weight: 1},
			},
		},
	)
	target := []byte("GET/api/user/123?name=some%20body&x=1")
	var req httpx.Request
	var resp httpx.Response
	allocs := testing.AllocsPerRun(1000, func() {
		req.Reset()
		resp.Reset()
		f := &req.Fields
		f.AddString("x-user", "alice")
		f.AddString("x-user", "dave")
		f.AddString("x-secret", "s")
		line := f.Keep(target)
		req.Method, req.Path, req.Authority = line[:3], line[3:], line[:0]
		r := table.Match(&req, Caller{}, 8080)
		b := r.Pick(1)
		r.ApplyRequest(&req, b, nil)
		r.ApplyResponse(&resp, b, nil)
	})
	if allocs != 0 {
		t.Errorf("allocations per request = %v, want 0", allocs)
	}
	if got := string(req.Path); got != "/user/123?name=some%20body&x=1" {
		t.Errorf("path = %q", got)
	}
}

// thousand are routes to as many paths, of each kind, and one that takes what is left.
func thousand(kind model.MatchKind) []plan.Route {
	var routes []plan.Route
	for i := range 999 {
		routes = append(routes, plan.Route{Matches: []model.HTTPMatch{{URI: &model.StringMatch{Kind: kind, Value: fmt.Sprintf("/api/v%d/team-%d/items", i%3, i)}}}})
	}
	return append(routes, plan.Route{})
}

// TestMatchLooksAtFew: of a thousand routes as many are looked at as a path may belong to.
func TestMatchLooksAtFew(t *testing.T) {
	for _, kind := range []model.MatchKind{model.Exact, model.Prefix, model.PathPrefix} {
		table := mustCompile(t, thousand(kind)...)
		for at := table.index.longest([]byte("/api/v1/team-700/items")); at >= 0; at = table.index.literals[at].parent {
			if n := len(table.index.literals[at].entries); n != 1 {
				t.Errorf("%v: %d routes for %q", kind, n, table.index.literals[at].text)
			}
		}
		if len(table.index.rest) != 1 {
			t.Errorf("%v: %d routes are looked at for every path", kind, len(table.index.rest))
		}
		for path, want := range map[string]int{"/api/v1/team-700/items": 700, "/api/v1/team-70/items": 70, "/api/v1/team-7000/items": 999, "/": 999, "": 999} {
			if got := table.Match(newRequest("GET", "users", path), Caller{}, 80); got != &table.entries[want] {
				t.Errorf("%v: %s has another route than %d", kind, path, want)
			}
		}
		req := newRequest("GET", "users", "/api/v1/team-700/items")
		if n := testing.AllocsPerRun(100, func() { table.Match(req, Caller{}, 80) }); n != 0 {
			t.Errorf("%v: %v allocations", kind, n)
		}
	}
}

func BenchmarkMatchOfAThousand(b *testing.B) {
	for _, kind := range []model.MatchKind{model.Exact, model.Prefix, model.PathPrefix} {
		for _, path := range []string{"/api/v1/team-997/items", "/other"} {
			b.Run(fmt.Sprintf("kind=%v/path=%s", kind, strings.ReplaceAll(path[1:], "/", "-")), func(b *testing.B) {
				table := mustCompile(b, thousand(kind)...)
				req := newRequest("GET", "users:8080", path, "user-agent: curl", "accept: */*", "x-request-id: 1")
				b.ReportAllocs()
				for b.Loop() {
					table.Match(req, Caller{}, 8080)
				}
			})
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	table := mustCompile(b,
		plan.Route{Matches: []model.HTTPMatch{{URI: exact("/health")}, {Headers: named("end-user", exact("jason"))}}},
		plan.Route{Matches: []model.HTTPMatch{{URI: prefix("/api/v1/"), Method: exact("POST")}}},
		plan.Route{Backends: []plan.WeightedBackend{{Weight: 90}, {Backend: 1, Weight: 10}}},
	)
	req := newRequest("GET", "users:8080", "/api/user/123", "user-agent: curl", "accept: */*", "x-request-id: 1")
	b.ReportAllocs()
	for b.Loop() {
		table.Match(req, Caller{}, 8080).Pick(1 << 40)
	}
}
