//go:build envoy

package lab_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/envoy"
)

// replicas are the pods that both sides call.
const replicas = 4

// rules is an outlierDetection, in the words of a DestinationRule.
type rules map[string]any

// asIstio gives what Istio makes of the rules for an Envoy's cluster: pilot/pkg/networking/core, applyOutlierDetection.
func (r rules) asIstio() envoy.Tree {
	out := envoy.Tree{"enforcing_success_rate": 0}
	for field, names := range map[string][2]string{
		"consecutive5xxErrors":     {"consecutive_5xx", "enforcing_consecutive_5xx"},
		"consecutiveGatewayErrors": {"consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"},
	} {
		if n, ok := r[field].(int); ok {
			out[names[0]], out[names[1]] = n, min(n, 1)*100
		}
	}
	for field, name := range map[string]string{
		"interval": "interval", "baseEjectionTime": "base_ejection_time", "maxEjectionPercent": "max_ejection_percent",
	} {
		if v, ok := r[field]; ok {
			out[name] = v
		}
	}
	if r["splitExternalLocalOriginErrors"] == true {
		out["split_external_local_origin_errors"] = true
		out["enforcing_local_origin_success_rate"] = 0
		if n, ok := r["consecutiveLocalOriginFailures"].(int); ok {
			out["consecutive_local_origin_failure"], out["enforcing_consecutive_local_origin_failure"] = n, 100
		}
	}
	return out
}

// step has one endpoint give answers, one after the other.
type step struct {
	of      int
	answers string // words of the endpoint, see test/envoy/endpoint
	ejected string // the endpoints that are ejected then, as "0 2"
	ours    string // the same of Fairlead where it differs from Envoy on purpose
}

// comparison is a Service that both sides call under the same rules.
type comparison struct {
	number  int
	name    string
	rules   rules
	grpc    bool
	timeout time.Duration
	// port is the one that endpoints are called at, 0 for that at which they listen. Nothing listens at any other.
	port  uint16
	steps []step
	// called are the endpoints that get calls after the steps, where that is not all but the ejected ones.
	called string
	// after is what else is compared.
	after func(t *testing.T, d *duel, c *comparison)
}

// ejecting are rules under which what is ejected stays so for the time of a test.
func ejecting(more rules) rules {
	out := rules{"interval": "60s", "baseEjectionTime": "60s", "maxEjectionPercent": 100}
	maps.Copy(out, more)
	return out
}

func comparisons() []comparison {
	return []comparison{
		{name: "errors", rules: ejecting(rules{"consecutive5xxErrors": 3}), steps: []step{
			{0, "500 503 200 599 501", "", ""}, {0, "404 500 500 500", "0", ""}, {2, "500 502 504", "0 2", ""},
		}},
		{name: "defaults", rules: rules{}, steps: []step{
			{1, "500 500 500 500 500 500 500", "", ""}, // 10 % of four is none
		}},
		{name: "five-by-default", rules: ejecting(rules{}), steps: []step{
			{1, "500 500 500 500", "", ""}, {1, "503", "1", ""},
		}},
		{name: "switched-off", rules: ejecting(rules{"consecutive5xxErrors": 0}), steps: []step{
			{1, "500 500 500 500 503 503 503 503", "", ""},
		}},
		{name: "gateway", rules: ejecting(rules{"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3}), steps: []step{
			{0, "502 503 500 504 503", "", ""}, {0, "502", "0", ""}, {1, "500 500 500 500 501", "0", ""}, {1, "503 200 503 503", "0", ""},
		}},
		{name: "gateway-beside-errors", rules: ejecting(rules{"consecutive5xxErrors": 4, "consecutiveGatewayErrors": 2}), steps: []step{
			{0, "500 503 500", "", ""}, {0, "503", "0", ""}, {3, "503 504", "0 3", ""},
		}},
		{name: "resets", rules: ejecting(rules{"consecutive5xxErrors": 3}), steps: []step{
			{0, "reset reset 200 reset reset", "", ""}, {0, "reset", "0", ""}, {1, "500 reset 503", "0 1", ""},
		}},
		{name: "cuts", rules: ejecting(rules{"consecutive5xxErrors": 3}), steps: []step{
			{0, "cut cut cut cut", "", ""}, {0, "500 500", "0", ""},
		}},
		{name: "timeouts", rules: ejecting(rules{"consecutive5xxErrors": 3}), timeout: 2 * time.Second, steps: []step{
			{0, "late late", "", ""}, {0, "late", "0", ""},
		}},
		{name: "gateway-timeouts", rules: ejecting(rules{"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 2}), timeout: 2 * time.Second, steps: []step{
			{0, "late 503", "0", ""},
		}},
		{name: "split-resets", rules: ejecting(rules{"consecutive5xxErrors": 3, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 2}), steps: []step{
			{0, "reset reset reset reset", "", ""}, {1, "500 reset 500", "", ""}, {1, "500", "1", ""},
		}},
		{name: "split-timeouts", rules: ejecting(rules{"consecutive5xxErrors": 2, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 2}), timeout: 2 * time.Second, steps: []step{
			{0, "late late late", "", ""},
		}},
		{name: "refused", rules: ejecting(rules{"consecutive5xxErrors": 3}), port: 8081, steps: []step{{0, "refused refused", "", ""}, {0, "refused", "0", ""}}},
		{
			name: "refused-split", rules: ejecting(rules{"consecutive5xxErrors": 1, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 3}), port: 8081,
			steps: []step{{0, "refused refused", "", ""}, {0, "refused", "0", ""}},
		},
		{name: "codes", rules: ejecting(rules{"consecutive5xxErrors": 3, "outlierDetectionHttpErrorCodes": []int{429, 503}}), steps: []step{
			{0, "500 500 500 500", "", ""}, {0, "429 503 200 429", "", ""}, {0, "503 429", "0", ""},
		}},
		{name: "half", rules: ejecting(rules{"consecutive5xxErrors": 2, "maxEjectionPercent": 50}), steps: []step{
			{0, "500 500", "0", ""}, {1, "500 500", "0 1", ""}, {2, "500 500 500 500", "0 1", ""},
		}},
		{name: "a-third", rules: ejecting(rules{"consecutive5xxErrors": 2, "maxEjectionPercent": 49}), steps: []step{
			{3, "500 500", "3", ""}, {1, "500 500 500", "3", ""},
		}},
		{name: "panic", rules: ejecting(rules{"consecutive5xxErrors": 2, "minHealthPercent": 60}), steps: []step{
			{0, "500 500", "0", ""}, {1, "500 500", "0 1", ""},
		}, called: "0 1 2 3"},
		{name: "success-rate", rules: ejecting(rules{"consecutive5xxErrors": 5, "interval": "1s"}), steps: []step{
			{0, strings.Repeat("500 500 200 ", 60), "", ""},
		}, after: noticed},
		{name: "times", rules: rules{
			"consecutive5xxErrors": 1, "maxEjectionPercent": 100, "interval": sweep.String(), "baseEjectionTime": baseTime.String(),
		}, after: lasting},
		{name: "grpc", rules: ejecting(rules{"consecutive5xxErrors": 3}), grpc: true, steps: []step{
			{0, "grpc=14 grpc=13 grpc=0 grpc=2 grpc=14", "", ""},
			{0, "grpc=5 grpc=14 grpc=13 grpc=2", "0", ""},
			{1, "grpc=4 grpc=15 grpc=12", "0 1", ""},
			{2, "grpc=1 grpc=3 grpc=5 grpc=7 grpc=8 grpc=16", "0 1", ""},
		}},
		// Envoy looks at the head of an answer alone, which of a call that has sent anything says 200; Fairlead at how it ended.
		{name: "grpc-trailers", rules: ejecting(rules{"consecutive5xxErrors": 3}), grpc: true, steps: []step{
			{0, "trailers=14 trailers=14 trailers=14", "", "0"},
		}},
		{name: "grpc-gateway", rules: ejecting(rules{"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 2}), grpc: true, steps: []step{
			{0, "grpc=13 grpc=13 grpc=2", "", ""}, {0, "grpc=14 grpc=14", "0", ""}, {1, "grpc=4 grpc=4", "0 1", ""},
		}},
	}
}

// TestEnvoyOutliers gives a sidecar and an Envoy the same rules and the same answers: they eject the same endpoints.
func TestEnvoyOutliers(t *testing.T) {
	d := startDuel(t)
	for i := range d.comparisons {
		c := &d.comparisons[i]
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range d.sides(t, c) {
				for n, step := range c.steps {
					c.give(t, s, d.addrs[step.of], strings.Fields(step.answers))
					want := step.ejected
					if step.ours != "" && s.name == "fairlead" {
						want = step.ours
					}
					d.expectEjected(t, s, fmt.Sprint("after step ", n+1), want)
				}
				c.expectCalled(t, d, s)
			}
			if c.after != nil {
				c.after(t, d, c)
			}
		})
	}
}

// expectEjected waits until the endpoints with these numbers are ejected, and no others.
func (d *duel) expectEjected(t *testing.T, s side, when, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s to have ejected %q %s", s.name, want, when), func() bool {
		set, err := s.ejected()
		if err != nil {
			t.Fatal(err)
		}
		return d.numbers(set) == want
	})
}

// noticed wants Envoy to have found out what Istio tells it not to enforce: without that the comparison proves nothing.
func noticed(t *testing.T, d *duel, _ *comparison) {
	admin := d.admin(t)
	eventually(t, "Envoy to notice what it is not to enforce", func() bool {
		n, err := admin.Counter(t.Context(), "cluster.success-rate.outlier_detection.ejections_detected_success_rate")
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
}

// Of the comparison of times. An ejection ends with the interval that is under way, so that as many whole base times fit into
// it as it is long; what a busy machine adds must be less than a base time without an interval.
const baseTime, sweep = 5 * time.Second, time.Second

// lasting measures in base times how long an endpoint is ejected: at first, a second time in a row, and after intervals
// without an ejection.
func lasting(t *testing.T, d *duel, c *comparison) {
	for _, s := range d.sides(t, c) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			eject := func() int {
				began := time.Now()
				c.give(t, s, d.addrs[0], []string{"500"})
				d.expectEjected(t, s, "for a while", "0")
				d.expectEjected(t, s, "and let it return", "")
				return int(time.Since(began) / baseTime)
			}
			got := []int{eject(), eject()}
			time.Sleep(3*sweep + sweep/2) // what is waited for is that nothing happens
			if got = append(got, eject()); !slices.Equal(got, []int{1, 2, 1}) {
				t.Errorf("ejected for %d base times, want 1, 2 and 1 again", got)
			}
		})
	}
}

// expectCalled wants the endpoints to be called that are not ejected, or those that the comparison names.
func (c *comparison) expectCalled(t *testing.T, d *duel, s side) {
	t.Helper()
	if c.port != 0 {
		return
	}
	ejected, err := s.ejected()
	if err != nil {
		t.Fatal(err)
	}
	left := map[netip.Addr]bool{}
	for _, a := range d.addrs {
		left[a] = !ejected[a]
	}
	want := cmp.Or(c.called, d.numbers(left))
	// Envoy's worker learns of ejections with the other changes of a second (update_merge_window).
	eventually(t, fmt.Sprintf("%s to call %q", s.name, want), func() bool {
		got := map[netip.Addr]bool{}
		for range 10 * replicas {
			by, _, err := c.ask(t.Context(), s, netip.Addr{}, "")
			if err != nil {
				t.Fatal(err)
			}
			if a, err := netip.ParseAddr(by); err == nil {
				got[a] = true
			}
		}
		return d.numbers(got) == want
	})
}
