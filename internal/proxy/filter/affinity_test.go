package filter

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

func TestAffinity(t *testing.T) {
	header := model.HashPolicy{By: model.HashByHeader, Name: "x-user"}
	query := model.HashPolicy{By: model.HashByQuery, Name: "user"}
	user := model.HashPolicy{By: model.HashByCookie, Name: "user"}
	for _, tt := range []struct {
		name   string
		policy model.HashPolicy
		path   string
		fields []string // name, value, …
		want   string   // what is hashed; empty for nothing
	}{
		{"nothing", model.HashPolicy{}, "/", nil, ""},
		{"header", header, "/", []string{"x-user", "ada"}, "ada"},
		{"path", model.HashPolicy{By: model.HashByHeader, Name: ":path"}, "/users.v1.Users/Get", nil, "/users.v1.Users/Get"},
		{"method", model.HashPolicy{By: model.HashByHeader, Name: ":method"}, "/", nil, "GET"},
		{"header_is_missing", header, "/", nil, ""},
		{"query", query, "/a?x=1&user=ada&user=bob", nil, "ada"},
		{"query_of_another_name", query, "/a?users=ada&xuser=bob", nil, ""},
		{"query_without_value", query, "/a?user", nil, ""},
		{"no_query", query, "/user=ada", nil, ""},
		{"cookie", user, "/", []string{"cookie", `a=b; user="ada"; c=d`}, "ada"},
		{"cookie_in_a_field_of_its_own", user, "/", []string{"cookie", "a=b", "cookie", "user=ada"}, "ada"},
		{"cookie_of_another_name", user, "/", []string{"cookie", "xuser=ada; users=bob; =user"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call := callOf(plan.Route{}, nil)
			call.Plan, call.Response = &plan.Backend{Hash: tt.policy}, &httpx.Response{}
			call.Request.Path = []byte(tt.path)
			call.Request.Method = []byte("GET")
			for i := 0; i < len(tt.fields); i += 2 {
				call.Request.Fields.AddString(tt.fields[i], tt.fields[i+1])
			}
			if err := (Affinity{}).Request(t.Context(), call); err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			if tt.want != "" {
				want = lb.HashOf([]byte(tt.want))
			}
			if tt.name != "query_without_value" && call.Hash != want {
				t.Errorf("Hash = %#x, want that of %q", call.Hash, tt.want)
			}
			(Affinity{}).Response(call)
			if n := call.Response.Fields.Len(); n != 0 {
				t.Errorf("the answer has %d fields more", n)
			}
		})
	}
}

// Who comes without the cookie gets one, and with it goes where it went without.
func TestAffinityIssuesACookie(t *testing.T) {
	policy := model.HashPolicy{
		By: model.HashByCookie, Name: "user", Issue: true, TTL: time.Hour, Path: "/shop",
		Attributes: []model.HeaderValue{{Name: "SameSite", Value: "Lax"}, {Name: "Secure"}},
	}
	seen := map[uint64]bool{}
	for range 100 {
		first := callOf(plan.Route{}, nil)
		first.Plan, first.Response = &plan.Backend{Hash: policy}, &httpx.Response{}
		(Affinity{}).Request(t.Context(), first)
		(Affinity{}).Response(first)
		set := string(first.Response.Fields.Get("set-cookie"))
		pair, rest, _ := strings.Cut(set, "; ")
		if rest != "Max-Age=3600; Path=/shop; SameSite=Lax; Secure; HttpOnly" {
			t.Fatalf("set-cookie: %s", set)
		}
		second := callOf(plan.Route{}, nil)
		second.Plan, second.Response = first.Plan, &httpx.Response{}
		second.Request.Fields.AddString("cookie", "other=1; "+pair)
		(Affinity{}).Request(t.Context(), second)
		(Affinity{}).Response(second)
		if second.Hash != first.Hash || second.Response.Fields.Len() != 0 {
			t.Fatalf("%s: hash %#x, then %#x; set again: %v", set, first.Hash, second.Hash, second.Response.Fields.Len() > 0)
		}
		seen[first.Hash] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different users of 100", len(seen))
	}
}

func TestAffinityBySource(t *testing.T) {
	hashOf := func(addr string) uint64 {
		call := callOf(plan.Route{}, nil)
		call.Plan, call.Client = &plan.Backend{Hash: model.HashPolicy{By: model.HashBySource}}, netip.MustParseAddr(addr)
		(Affinity{}).Request(t.Context(), call)
		return call.Hash
	}
	if hashOf("10.0.0.1") == hashOf("10.0.0.2") || hashOf("10.0.0.1") != hashOf("::ffff:10.0.0.1") {
		t.Error("an address is one however it is written, and no other")
	}
}

func TestAffinityAllocatesNothing(t *testing.T) {
	for _, policy := range []model.HashPolicy{
		{By: model.HashByHeader, Name: "x-user"}, {By: model.HashByCookie, Name: "user"}, {By: model.HashByQuery, Name: "user"}, {By: model.HashBySource},
	} {
		call := callOf(plan.Route{}, nil)
		call.Plan, call.Response, call.Client = &plan.Backend{Hash: policy}, &httpx.Response{}, netip.MustParseAddr("10.0.0.1")
		call.Request.Path = []byte("/x?user=ada")
		call.Request.Fields.AddString("x-user", "ada")
		call.Request.Fields.AddString("cookie", "a=b; user=ada")
		if n := testing.AllocsPerRun(100, func() {
			(Affinity{}).Request(t.Context(), call)
			(Affinity{}).Response(call)
		}); n != 0 {
			t.Errorf("%v: %v allocations, want 0", policy.By, n)
		}
	}
}
