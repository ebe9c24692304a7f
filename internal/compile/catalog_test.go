package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// TestCatalog says what callers of each namespace can call, divided as they see it.
func TestCatalog(t *testing.T) {
	snap := snapshot(t, privateWorld+`
dr own.thief host=shop.victim.svc.cluster.local subset=mine:version=v9
`)
	list := func(namespace string) string {
		var out strings.Builder
		for _, at := range compile.Callable(store.NewReader(snap), global(), namespace) {
			variant := compile.GroupVariant(store.NewReader(snap), global(), namespace, at.HostPort)
			fmt.Fprintf(&out, "%s %v as %q\n", at.HostPort, compile.Subsets(store.NewReader(snap), global(), namespace, at.Host), variant)
		}
		return out.String()
	}
	tests := []struct{ name, want string }{
		{"", `open-db.victim.svc.cluster.local:3307 [] as ""
shop.victim.svc.cluster.local:80 [] as ""
`},
		{"thief", `open-db.victim.svc.cluster.local:3307 [] as ""
shop.victim.svc.cluster.local:80 [mine] as "thief"
`},
		{"victim", `*.secret.example.com:80 [] as "victim"
open-db.victim.svc.cluster.local:3307 [] as "victim"
secret-bank.victim.svc.cluster.local:80 [] as "victim"
secret-db.victim.svc.cluster.local:3306 [] as "victim"
secret.example.com:80 [] as "victim"
secret.internal:80 [] as "victim"
secret.virtual:80 [] as "victim"
shop.victim.svc.cluster.local:80 [secret] as "victim"
`},
	}
	for _, tt := range tests {
		t.Run("of_"+tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, list(tt.name)); diff != "" {
				t.Errorf("Callable(%q) (-want +got):\n%s", tt.name, diff)
			}
		})
	}
}

// TestGroupIsNoWayAroundExports asks for what others see, and for subsets that are not there.
func TestGroupIsNoWayAroundExports(t *testing.T) {
	snap := snapshot(t, privateWorld)
	for _, name := range []plan.HostPort{
		{Host: "secret-bank.victim.svc.cluster.local", Port: 80}, {Host: "secret.example.com", Port: 80}, {Host: "shop.victim.svc.cluster.local", Port: 81},
	} {
		if b, _ := compile.Group(store.NewReader(snap), global(), "thief", name, ""); b != nil {
			t.Errorf("Group(thief, %s) = %+v, want nothing", name, b)
		}
	}
	shop := plan.HostPort{Host: "shop.victim.svc.cluster.local", Port: 80}
	if b, _ := compile.Group(store.NewReader(snap), global(), "thief", shop, "secret"); b != nil {
		t.Errorf("the subset of a private rule is %+v, want nothing", b)
	}
	if b, _ := compile.Group(store.NewReader(snap), global(), "victim", shop, "secret"); b == nil || b.Name != "outbound|80|secret|shop.victim.svc.cluster.local" {
		t.Errorf("Group(victim, %s, secret) = %+v", shop, b)
	}
}
