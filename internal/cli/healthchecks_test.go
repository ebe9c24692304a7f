package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
)

// TestHealthChecksTable: two replicas, each with the sidecars that are connected to it.
func TestHealthChecksTable(t *testing.T) {
	now := time.Unix(1000, 0)
	since := now.Add(-12 * time.Second)
	plain := admin.Probed{
		Policy: "shop/plain", Address: "10.1.0.3:8080", Failing: true, Reason: "no answer within 1s", Since: &since,
		Probers: []admin.Prober{{ID: "a-1.shop", Says: "fails"}, {ID: "b-1.shop", Says: "fails"}},
	}
	elsewhere := admin.Probed{Policy: "shop/plain", Address: "10.1.0.3:8080", Probers: []admin.Prober{{ID: "c-1.shop", Says: "passes"}}}
	own := admin.Probed{Policy: "shop/users", Address: "users-1.shop", Failing: true, Reason: "HTTP status 500", Since: &since, Probers: []admin.Prober{{ID: "users-1.shop", Says: "fails"}}}
	fine := admin.Probed{Policy: "shop/plain", Address: "10.1.0.4:8080"}
	var out strings.Builder
	if err := printHealthChecks(&out, admin.MergeProbes([]admin.Probed{plain, own}, []admin.Probed{elsewhere, fine}), now); err != nil {
		t.Fatal(err)
	}
	want := `
ENDPOINT STATUS POLICY CHECKED BY REASON
10.1.0.3:8080 FAILED shop/plain a-1.shop (fails), b-1.shop (fails), c-1.shop (passes) no answer within 1s, for 12s
users-1.shop FAILED shop/users users-1.shop (fails) HTTP status 500, for 12s
10.1.0.4:8080 OK shop/plain nobody -
`
	if diff := cmp.Diff(want, "\n"+regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := printHealthChecks(&out, nil, now); err != nil || !strings.HasPrefix(out.String(), "no pod fails") {
		t.Errorf("nothing: %q, %v", out.String(), err)
	}
}
