package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// order is a schedule in words.
func order(cells []Cell, rounds int) []string {
	var out []string
	for _, s := range schedule(cells, rounds) {
		word := cells[s.cell].ID + " " + string(rune('1'+s.round))
		if s.extra {
			word += " extra"
		}
		out = append(out, word)
	}
	return out
}

func TestScheduleHasCellsWithGoalsFirst(t *testing.T) {
	cells := []Cell{
		{ID: "h1-0-c1", Kind: KindHTTP1},
		{ID: "ready", Kind: KindReady},
		{ID: "h1-1k-c1", Kind: KindHTTP1},
		{ID: "grpc-64", Kind: KindGRPC},
		{ID: "idle-1000", Kind: KindIdle},
		{ID: "long", Kind: KindOpen},
	}
	want := []string{
		"idle-1000 1", "h1-1k-c1 1", "grpc-64 1", "h1-1k-c1 2", "grpc-64 2", "h1-0-c1 1", "h1-0-c1 2", "long 1",
		"h1-1k-c1 3 extra", "grpc-64 3 extra", "h1-1k-c1 4 extra", "grpc-64 4 extra", "h1-0-c1 3 extra", "h1-0-c1 4 extra",
		"ready 1", "ready 2", "ready 3",
	}
	if got := order(cells, 4); !slices.Equal(got, want) {
		t.Errorf("schedule of four rounds = %q, want %q", got, want)
	}
	want = []string{"idle-1000 1", "h1-1k-c1 1", "grpc-64 1", "h1-0-c1 1", "long 1", "ready 1"}
	if got := order(cells, 1); !slices.Equal(got, want) {
		t.Errorf("schedule of one round = %q, want %q", got, want)
	}
}

// crew is a runner with the contestants of a real run.
func crew() *Runner {
	at := map[string]string{}
	for _, port := range []string{"http", "http2", "h2", "tcp", "tls"} {
		at[port] = "127.0.0.1:1"
	}
	web := map[string]string{"http": "127.0.0.1:2"}
	start := []string{"true"}
	return &Runner{rounds: 4, seconds: 2, log: io.Discard, settings: &settings{}, contestants: []*Contestant{
		{Name: ours, at: at, sidecars: true, pids: []int{1}},
		{Name: "envoy", at: at, start: start, pids: []int{2}},
		{Name: "envoy-h2", at: web, start: start, pids: []int{2}},
		{Name: "haproxy", at: at, start: start, pids: []int{3}},
		{Name: "haproxy-h2", at: web, start: start, pids: []int{3}},
		{Name: "nginx", at: at, start: start, pids: []int{4}},
		{Name: "envoy-mesh", at: map[string]string{"http": "x", "h2": "x", "http2": "x", "tls": "x"}, start: start, pids: []int{5}, baseline: true},
		{Name: "goproxy", at: map[string]string{"http": "x", "tls": "x"}, start: start, pids: []int{6}, baseline: true},
		{Name: direct, at: at},
	}}
}

func names(of []*Contestant) string {
	var out []string
	for _, c := range of {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

func TestWhoTakesPart(t *testing.T) {
	goal, other := Cell{ID: "h1-1k-c1", Kind: KindHTTP1}, Cell{ID: "h1-0-c1", Kind: KindHTTP1}
	for _, tt := range []struct {
		name  string
		run   CellRun
		round int
		want  string
	}{
		{"a_cell_with_a_goal", CellRun{Cell: goal}, 0, "envoy envoy-h2 haproxy haproxy-h2 nginx envoy-mesh goproxy"},
		{"those_without_goals_have_two_rounds", CellRun{Cell: goal}, 2, "envoy envoy-h2 haproxy haproxy-h2 nginx"},
		{"and_only_there", CellRun{Cell: other}, 0, "envoy envoy-h2 haproxy haproxy-h2 nginx"},
		{"who_is_saturated_does_not", CellRun{Cell: goal, Skipped: map[string]string{"envoy": "saturated"}}, 2, "envoy-h2 haproxy haproxy-h2 nginx"},
		{"memory_once_for_the_same_processes", CellRun{Cell: Cell{Kind: KindIdle}}, 0, "envoy haproxy nginx envoy-mesh goproxy"},
		{"no_port_for_it", CellRun{Cell: Cell{Kind: KindBulk}}, 0, "envoy haproxy nginx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := names(crew().taking(&tt.run, tt.round)); got != tt.want {
				t.Errorf("taking = %s, want %s", got, tt.want)
			}
		})
	}
}

// TestAWholeRunFits adds up what the cells are expected to take.
func TestAWholeRunFits(t *testing.T) {
	for _, tt := range []struct {
		args []string
		most time.Duration
	}{
		{[]string{"-envoy", "x"}, 30 * time.Minute},
		{[]string{"-envoy", "x", "-cells", goalsWord}, 12 * time.Minute},
		{[]string{"-envoy", "x", "-quick"}, 5 * time.Minute},
	} {
		s, err := parseFlags(tt.args)
		if err != nil {
			t.Fatal(err)
		}
		cells, err := s.chosen()
		if err != nil {
			t.Fatal(err)
		}
		r := crew()
		r.rounds, r.seconds, r.settings = s.rounds, s.seconds, s
		total := 2 * labStart
		runs := fresh(cells)
		for _, st := range schedule(cells, r.rounds) {
			if !st.extra {
				total += r.cost(runs[st.cell], st.round)
			}
		}
		t.Logf("%v: %s", tt.args, total)
		if s.within != tt.most || total > tt.most {
			t.Errorf("%v: reserved rounds take %s, the limit is %s, want %s", tt.args, total, s.within, tt.most)
		}
	}
}

func TestIdleConnectionsSettleTogether(t *testing.T) {
	for _, tt := range []struct {
		name               string
		contestants, conns int
		settled            int // how often all wait
	}{
		{"all_at_the_same_time", 7, 1000, 2},
		{"the_server_has_room_for_one", 7, 5900, 8},
		{"more_than_there_is_room_for", 2, 20000, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opening := float64(tt.contestants) * (0.3 + 1.5*float64(tt.conns)/1000)
			got, want := idleSeconds(tt.contestants, tt.conns), opening+float64(tt.settled)*settle.Seconds()
			if diff := got - want; diff < -0.001 || diff > 0.001 {
				t.Errorf("%d contestants with %d connections take %.1f s, want %.1f", tt.contestants, tt.conns, got, want)
			}
		})
	}
}

func TestExtraRoundsLeaveTimeForThoseThatAreReserved(t *testing.T) {
	now := time.Now()
	p := &progress{begun: now, end: now.Add(100 * time.Second)}
	if !p.fits(30*time.Second, 60*time.Second) || p.fits(30*time.Second, 80*time.Second) {
		t.Error("as long as nothing has run, steps take what is expected")
	}
	p.planned, p.spent = 30*time.Second, 60*time.Second // the machine is slower
	if p.fits(30*time.Second, 60*time.Second) || !p.fits(30*time.Second, 0) {
		t.Error("what has run says how long the rest takes")
	}
}

func TestChosenCells(t *testing.T) {
	chosen := func(args ...string) (out []string) {
		s, err := parseFlags(args)
		if err != nil {
			t.Fatal(err)
		}
		cells, err := s.chosen()
		if err != nil {
			return []string{err.Error()}
		}
		for i := range cells {
			out = append(out, cells[i].ID)
		}
		return out
	}
	if got := chosen("-cells", "goals,ready"); !slices.Contains(got, "h1-1k-c64") || !slices.Contains(got, "ready") || slices.Contains(got, "h1-0-c1") {
		t.Errorf("goals and ready: %q", got)
	}
	if got := chosen("-cells", "ready", "-long", "60s"); !slices.Equal(got, []string{"ready", "long"}) {
		t.Errorf("a long run besides: %q", got)
	}
	if got := chosen("-cells", "gaols"); len(got) != 1 || !strings.Contains(got[0], `no cell is called "gaols"`) {
		t.Errorf("a cell that is none: %q", got)
	}
}

// Results of a part do not take the place of those that are in the tree.
func TestOnlyAWholeRunIsPublished(t *testing.T) {
	for _, args := range [][]string{{"-cells", "goals"}, {"-quick"}, {"-peers", "nginx"}, {"-variant", "a=b"}, {"-bin", "old"}} {
		if s, err := parseFlags(append(args, "-envoy", "x")); err != nil || s.out != scratch {
			t.Errorf("%v: into %s, %v", args, s.out, err)
		}
	}
	if s, err := parseFlags([]string{"-envoy", "x"}); err != nil || s.out != published {
		t.Errorf("a whole run: into %s, %v", s.out, err)
	}
}

func TestManyIdleFitIntoTheDescriptors(t *testing.T) {
	if c := manyIdle(65536); c.Conns != 10000 || c.Title != "10,000 idle connections" {
		t.Errorf("%+v", c)
	}
	if c := manyIdle(20000); c.Conns != 5900 || !strings.Contains(c.Title, "5,900 idle connections, as many as fit into 20000") {
		t.Errorf("%+v", c)
	}
}

func TestTwoGeneratorsThatDoNotAgree(t *testing.T) {
	all := []Check{{What: "wrk", Of: ours, First: 30, Second: 33}, {What: "wrk", Of: "nginx", First: 30, Second: 40}}
	if err := doubts(all[:1]); err != nil {
		t.Error(err)
	}
	if err := doubts(all); err == nil || !strings.Contains(err.Error(), "wrk, nginx: +33 %") {
		t.Errorf("doubts = %v", err)
	}
	if err := doubts([]Check{{Error: "refused"}}); err == nil {
		t.Error("a generator that failed is believed")
	}
}
