package discovery

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

// TestHealthIsSaidAndSaidAgain: what a client reports reaches the replica that it is connected to, and each one after.
func TestHealthIsSaidAndSaidAgain(t *testing.T) {
	source := newFakeSource()
	reports := make(chan ClientHealth, 16)
	heard := func(o *ServerOptions) { o.Health = func(h ClientHealth) { reports <- h } }
	a, b := start(t, source, heard), start(t, source, heard)
	c := a.client(t, newRecorder(), func(o *ClientOptions) { o.Addrs = []string{a.addr, b.addr} })
	run(t, c)
	await(t, c, "host/nobody:80")
	next := func(what string) ClientHealth {
		t.Helper()
		select {
		case h := <-reports:
			return h
		case <-time.After(deadline):
			t.Fatalf("still waiting for %s", what)
			return ClientHealth{}
		}
	}
	failing := []model.CheckResult{{Policy: "users", Failing: true, Why: "no answer within 1s", Since: time.Unix(1_800_000_000, 0).UTC()}}
	c.Report(func(h *HealthReport) { h.Results = failing })
	first := next("the report")
	if diff := cmp.Diff(failing, first.Report.Results); diff != "" || first.Client.Pod != "orders-1" {
		t.Fatalf("of %+v (-want +got):\n%s", first.Client, diff)
	}
	for _, w := range []*world{a, b} { // whichever it is connected to
		if len(w.server.Status()) > 0 {
			w.stop()
			break
		}
	}
	end, again := next("the end of the stream"), next("the report to the other replica")
	if end.Report != nil { // the client is as quick as the replica that ends
		end, again = again, end
	}
	if end.Report != nil || end.Stream != first.Stream {
		t.Errorf("= %+v, want the end of stream %d", end, first.Stream)
	}
	if again.Report == nil || !cmp.Equal(failing, again.Report.Results) {
		t.Errorf("= %+v", again)
	}
	c.Report(func(h *HealthReport) { h.Results = nil })
	if last := next("the end of all checks"); last.Report == nil || len(last.Report.Results) != 0 {
		t.Errorf("= %+v, want a report without results", last)
	}
}

func probeOf(policy, at string) model.ProbeResult {
	namespace, name, _ := strings.Cut(policy, "/")
	return model.ProbeResult{Target: model.ProbeTarget{Policy: model.Key{Namespace: namespace, Name: name}, Addr: netip.MustParseAddrPort(at)}}
}

// TestProbesAreReportedBesideTheOwnHealth: neither takes the place of the other.
func TestProbesAreReportedBesideTheOwnHealth(t *testing.T) {
	reports := make(chan ClientHealth, 16)
	w := start(t, newFakeSource(), func(o *ServerOptions) { o.Health = func(h ClientHealth) { reports <- h } })
	c := w.client(t, newRecorder())
	own := []model.CheckResult{{Policy: "users", Since: time.Unix(1, 0).UTC()}}
	six := probeOf("shop/ledger", "[fd00::1]:80")
	six.Failing, six.Why, six.Since, six.Age = true, "refused", time.Unix(1_800_000_000, 0).UTC(), 1500*time.Millisecond
	four := probeOf("shop/ledger", "192.0.2.1:443")
	four.Since = six.Since
	c.Report(func(h *HealthReport) { h.Results = own })
	c.Report(func(h *HealthReport) { h.Probes, h.Prober = []model.ProbeResult{six, four}, true })
	run(t, c)
	expect := func(what string, want HealthReport) {
		t.Helper()
		select {
		case h := <-reports:
			if diff := cmp.Diff(want, *h.Report, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		case <-time.After(deadline):
			t.Fatal(what)
		}
	}
	expect("both", HealthReport{Results: own, Probes: []model.ProbeResult{six, four}, Prober: true})
	c.Report(func(h *HealthReport) { h.Probes = nil })
	expect("no probes, for now", HealthReport{Results: own, Prober: true})
	c.Report(func(h *HealthReport) { h.Prober = false })
	expect("none any more", HealthReport{Results: own})
}

func TestHealthReportRefuses(t *testing.T) {
	many := &HealthReport{}
	for i := range MaxResults + 1 {
		many.Results = append(many.Results, model.CheckResult{Policy: strconv.Itoa(i)})
	}
	var tooMany []model.ProbeResult
	for i := range maxProbes + 1 {
		tooMany = append(tooMany, probeOf("a/b", fmt.Sprintf("10.0.0.1:%d", i+1)))
	}
	for name, report := range map[string]*HealthReport{
		"too_many":        many,
		"without_policy":  {Results: []model.CheckResult{{Failing: true}}},
		"long_policy":     {Results: []model.CheckResult{{Policy: strings.Repeat("a", maxPolicy+1)}}},
		"twice":           {Results: []model.CheckResult{{Policy: "a"}, {Policy: "a", Failing: true}}},
		"too_many_probes": {Probes: tooMany},
		"a_probe_twice":   {Probes: []model.ProbeResult{probeOf("a/b", "10.0.0.1:80"), probeOf("a/b", "[::ffff:10.0.0.1]:80")}},
		"no_namespace":    {Probes: []model.ProbeResult{probeOf("b", "10.0.0.1:80")}},
		"no_port":         {Probes: []model.ProbeResult{probeOf("a/b", "10.0.0.1:0")}},
		"no_address":      {Probes: []model.ProbeResult{{Target: model.ProbeTarget{Policy: model.Key{Namespace: "a", Name: "b"}}}}},
		"long_names":      {Probes: []model.ProbeResult{probeOf("a/"+strings.Repeat("b", maxPolicyKey), "10.0.0.1:80")}},
		"no_text":         {Results: []model.CheckResult{{Policy: "\xff"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseRequest((&Request{Node: &Node{}, Health: report}).append(nil)); err == nil {
				t.Errorf("= %+v, want a refusal", got.Health)
			}
		})
	}
	long := &Request{Node: &Node{}, Health: &HealthReport{Results: []model.CheckResult{{Policy: "a", Why: strings.Repeat("x", 5000)}}}}
	if got, err := parseRequest(long.append(nil)); err != nil || len(got.Health.Results[0].Why) != maxWhy {
		t.Errorf("a long reason: %v, want it cut to %d bytes", err, maxWhy)
	}
}

// TestHealthReportsArePaced: a sidecar that reports without end is read slowly.
func TestHealthReportsArePaced(t *testing.T) {
	a := &account{work: bucket{rate: workRate, burst: workBurst}}
	now := time.Unix(0, 0)
	var reports int
	for reports = 0; a.charge(healthWork, now) == 0; reports++ {
		if reports > 1000 {
			t.Fatal("there is no end")
		}
	}
	if wait := a.charge(healthWork, now); reports > 100 || wait < 250*time.Millisecond {
		t.Errorf("after %d reports at once the next is read after %s, want at most 100 and a pause", reports, wait)
	}
}
