package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
)

func TestRolloutTable(t *testing.T) {
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	departure := func(pod string, marked bool, open uint64, holders ...string) admin.Departure {
		return admin.Departure{
			ID: pod + ".shop", Namespace: "shop", Pod: pod, Since: now.Add(-1500 * time.Millisecond), Deadline: now.Add(25 * time.Second),
			Marked: marked, Open: open, Held: len(holders), Holders: holders,
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("orders-%02d.shop", i))
	}
	crowd := departure("crowd", true, 7, many...)
	crowd.Held = 1200
	first, second := departure("two", true, 4, "a.shop"), departure("two", true, 4, "b.shop", "c.shop")
	departures := admin.MergeDepartures(
		[]admin.Departure{crowd, departure("held", true, 2, "orders-1.shop"), departure("free", true, 1), first, departure("half", true, 0)},
		[]admin.Departure{second, departure("half", false, 0, "orders-2.shop"), departure("gone", true, 0)},
	)
	var pods []endingPod
	for _, name := range []string{"held", "free", "crowd", "two", "half", "plain"} {
		pods = append(pods, endingPod{"shop", name})
	}
	var out strings.Builder
	if err := printRolloutTable(&out, rolloutRows(pods, departures, now)); err != nil {
		t.Fatal(err)
	}
	want := `
POD STATE HELD BY OPEN DRAINING LEFT
crowd.shop HELD orders-00.shop, orders-01.shop, orders-02.shop and 1197 more 7 1.5s 25.0s
free.shop RELEASED nobody 1 1.5s 25.0s
half.shop UNHEARD orders-2.shop 0 1.5s 25.0s
held.shop HELD orders-1.shop 2 1.5s 25.0s
plain.shop SILENT - - - -
two.shop HELD a.shop, b.shop, c.shop 4 1.5s 25.0s
`
	if diff := cmp.Diff(want, "\n"+regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := printRolloutTable(&out, rolloutRows(nil, departures, now)); err != nil || out.String() != "no pod is ending\n" {
		t.Errorf("nothing: %q, %v", out.String(), err)
	}
}
