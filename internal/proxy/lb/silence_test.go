package lb

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// TestSilentEndpointsComeSecond: with every policy, calls go to the endpoints that are heard, and to all of them by the policy where none is.
func TestSilentEndpointsComeSecond(t *testing.T) {
	for name, o := range map[string]Options{
		"round_robin": {Kind: model.RoundRobin}, "random": {Kind: model.Random}, "least_request": {Kind: model.LeastRequest},
		"peak_ewma": {Kind: model.PeakEWMA}, "ring": {Kind: model.RingHash}, "maglev": {Kind: model.Maglev, TableSize: 251},
		"utilization": {Kind: model.Utilization, Utilization: &model.BackendUtilization{}},
		"bounded":     {Kind: model.RingHash, BalanceFactor: 150, Group: NewGroup("a")},
		"one_client":  {Client: netip.MustParseAddr("10.9.9.9")},
		"by_locality": {Locality: &model.LocalityLB{}, Here: in("west/a")},
	} {
		t.Run(name, func(t *testing.T) {
			es := endpoints(1, 1, 1, 1)
			p := NewPicker(o, es)
			picked := func(tried ...*testEndpoint) (at []int) {
				for i := range 400 {
					info := triedInfo(tried)
					info.Hash = HashOf([]byte{byte(i), byte(i >> 8)})
					e := p.Pick(info).Endpoint
					at = append(at, slices.IndexFunc(es, func(o *testEndpoint) bool { return o.Plan.Addr == e.Plan.Addr }))
				}
				slices.Sort(at)
				return slices.Compact(at)
			}
			all := picked()
			for _, i := range []int{0, 1} {
				es[i].NoteSilence(true)
			}
			if got := picked(); slices.Contains(got, 0) || slices.Contains(got, 1) {
				t.Errorf("two of four are silent, and called are %v", got)
			}
			if got := picked(es[2], es[3]); slices.Contains(got, 2) || slices.Contains(got, 3) {
				t.Errorf("after both that are heard were tried, called are %v", got)
			}
			es[2].refused(time.Now())
			if got := picked(); !slices.Equal(got, []int{3}) {
				t.Errorf("two are silent and one refuses connections, and called are %v", got)
			}
			es[3].refused(time.Now())
			if got := picked(); slices.Contains(got, 2) || slices.Contains(got, 3) {
				t.Errorf("two are silent and two refuse connections, and called are %v", got)
			}
			es[2].Accepted()
			es[3].Accepted()
			for _, i := range []int{2, 3} {
				es[i].NoteSilence(true)
			}
			if got := picked(); !slices.Equal(got, all) {
				t.Errorf("all are silent, and called are %v, want %v as before", got, all)
			}
			for i := range es {
				es[i].NoteSilence(false)
			}
			if got := picked(); !slices.Equal(got, all) {
				t.Errorf("none is silent any more, and called are %v, want %v", got, all)
			}
		})
	}
}

// TestSilentEndpointKeepsItsPins: a session is not given up for a moment of silence.
func TestSilentEndpointKeepsItsPins(t *testing.T) {
	es := endpoints(1, 1)
	es[0].NoteSilence(true)
	info := &Info{Pin: PinOf(&es[0].Plan)}
	if c := NewPicker(Options{Pinned: true}, es).Pick(info); c.Endpoint.Plan.Addr != es[0].Plan.Addr || c.Why != Pinned {
		t.Errorf("a call of a session goes to %v", c)
	}
}

// TestSilentEndpointsCarryLess: farther ones help the rest as they do where endpoints are ejected, and no longer than that.
func TestSilentEndpointsCarryLess(t *testing.T) {
	for silent, near := range []float64{1, .933, .467, 0, 1} { // 1.4 times what is left; nobody is heard where all six are silent
		t.Run(strconv.Itoa(silent), func(t *testing.T) {
			es := fleet(3, "west/a", "east/b")
			p := NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/a")}, es)
			for i := range es {
				es[i].NoteSilence(i < silent || silent > 3)
			}
			p.weighing.now.Load().from = 0 // it is looked at once in so many microseconds
			if got := nearShare(p, es[:3]); math.Abs(got-near) > 0.05 {
				t.Errorf("%.3f of the calls stay near, want %.3f", got, near)
			}
			for i := range es {
				es[i].NoteSilence(false)
			}
			p.weighing.now.Load().from = 0
			if got := nearShare(p, es[:3]); got < 0.999 {
				t.Errorf("%.3f of the calls stay near afterwards", got)
			}
		})
	}
}

// TestSilentEndpointsAreSharedOut: where nobody is heard calls are shared out as they were.
func TestSilentEndpointsAreSharedOut(t *testing.T) {
	es := fleet(2, "west/a", "east/b")
	p := NewPicker(Options{Here: in("west/a"), Locality: &model.LocalityLB{Distribute: []model.LocalityShares{
		{From: "*", To: []model.LocalityShare{{To: "west/a", Percent: 80}, {To: "east/b", Percent: 20}}},
	}}}, es)
	for i := range es {
		es[i].NoteSilence(true)
	}
	p.weighing.now.Load().from = 0
	if got, want := byPlace(p), map[string]float64{"west/a": 80, "east/b": 20}; !equalShares(got, want) {
		t.Errorf("shares = %v, want %v", got, want)
	}
}

func nearShare(p *testPicker, near []*testEndpoint) (sum float64) {
	got := share(p, 4000)
	for _, e := range near {
		sum += got[e]
	}
	return sum
}
