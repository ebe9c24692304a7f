package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/store"
)

// TestBudgetOfRemoteEvents: an endpoint that changes in another cluster is one shard anew, however many clusters and Services there
// are: no destination, no shard of another cluster or Service, no check of the whole.
func TestBudgetOfRemoteEvents(t *testing.T) {
	const services = 20
	clusters := []string{"", "east", "north", "south", "west"}
	slice := func(i, c, last int) string {
		return fmt.Sprintf("slice svc-%d-x.shop of=svc-%d cluster=%s port=http:80 ep=10.%d.%d.1/svc-%d-a ep=10.%d.%d.%d\n", i, i, clusters[c], c, i, i, c, i, last)
	}
	var text strings.Builder
	var names []string
	for i := range services {
		for c, cluster := range clusters {
			fmt.Fprintf(&text, "service svc-%d.shop cluster=%s ip=10.96.0.%d port=http:80:HTTP\n", i, cluster, 1+i)
			fmt.Fprintf(&text, "pod svc-%d-a.shop cluster=%s ip=10.%d.%d.1 sa=svc meshed\n", i, cluster, c, i)
			text.WriteString(slice(i, c, 2))
		}
		names = append(names, fmt.Sprintf("ip/10.96.0.%d:80", 1+i))
	}
	s := store.New()
	snap, _ := load(t, s, text.String())
	before := compute(snap, []string{"shop"}, names)
	shards := 0
	for what := range before {
		if strings.HasPrefix(what, "compile eps/") {
			shards++
		}
	}
	if want := services * len(clusters); shards != want {
		t.Fatalf("%d shards, want %d: one for each Service and cluster", shards, want)
	}
	_, changed := load(t, s, slice(3, 2, 9))
	var anew []string
	for what, r := range before {
		if changed.Any(r.keys) {
			anew = append(anew, what)
		}
	}
	if len(anew) != 1 || !strings.HasPrefix(anew[0], "compile eps/svc-3.shop") || !strings.Contains(anew[0], "north") {
		t.Errorf("to be computed anew: %q, want the shard of north alone", anew)
	}
}
