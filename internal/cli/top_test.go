package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"fairlead.dev/fairlead/internal/observe"
)

// seen is a request as one end has seen it.
func seen(d observe.Direction, path string, status int, took time.Duration) *observe.Event {
	at := func(pod, addr string) observe.Peer {
		p := observe.Peer{Addr: netip.MustParseAddrPort(addr + ":8080")}
		if pod != "" {
			p.Labels = map[string]string{"pod": pod}
		}
		return p
	}
	return &observe.Event{
		Direction: d, Source: at("orders-1", "10.0.0.1"), Destination: at("users-1", "10.0.0.2"), Method: "GET", Path: path, Route: "all",
		Status: status, Duration: took,
	}
}

func TestTopTable(t *testing.T) {
	unknown := seen(observe.Inbound, "/a", 200, 3*time.Millisecond)
	unknown.Source = observe.Peer{Addr: netip.MustParseAddrPort("10.9.9.9:41000")}
	grpc := seen(observe.Inbound, "/pkg.S/M", 200, time.Second)
	grpc.GRPCStatus = "13"
	odd := seen(observe.Inbound, "/\x1b[2J", 200, time.Millisecond)
	events := []*observe.Event{
		seen(observe.Outbound, "/a", 200, 4*time.Millisecond), seen(observe.Inbound, "/a", 200, 3*time.Millisecond), // one request, two ends
		seen(observe.Outbound, "/a", 503, 1234567*time.Nanosecond),
		seen(observe.Outbound, "/a", 404, 20*time.Microsecond),
		seen(observe.Inbound, "/b", 0, 2*time.Second),
		unknown, grpc, odd,
	}
	for _, tt := range []struct {
		name string
		topOptions
		want string
	}{
		{"all", topOptions{}, `
Source     Destination   Method   Path       Count     Best    Worst     Last   Success Rate
orders-1   users-1       GET      /a             3     20µs      4ms     20µs         66.67%
10.9.9.9   users-1       GET      /a             1      3ms      3ms      3ms        100.00%
orders-1   users-1       GET      /b             1       2s       2s       2s          0.00%
orders-1   users-1       GET      /pkg.S/M       1       1s       1s       1s          0.00%
orders-1   users-1       GET      /�[2J          1      1ms      1ms      1ms        100.00%
`},
		{"routes_without_sources", topOptions{hideSources: true, routes: true}, `
Destination   Route   Count     Best    Worst     Last   Success Rate
users-1       all         5      1ms       2s      1ms         60.00%
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := top{table: newTopTable(tt.topOptions)}
			for _, e := range events {
				if err := top.event(e); err != nil {
					t.Fatal(err)
				}
			}
			lines, _ := top.lines()
			squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
			want := strings.Split(strings.TrimSpace(tt.want), "\n")
			if len(lines) != len(want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
			}
			for i := range want {
				if squeeze(lines[i]) != squeeze(want[i]) {
					t.Errorf("line %d: %q\nwant    %q", i, lines[i], want[i])
				}
			}
		})
	}
}

// TestTopIsBounded: whoever makes up paths makes no rows without end, and no request is lost.
func TestTopIsBounded(t *testing.T) {
	table := newTopTable(topOptions{})
	for i := range 3 * topRows {
		table.add(seen(observe.Outbound, fmt.Sprintf("/%d", i), 200, time.Millisecond))
	}
	if len(table.rows) != topRows+1 || table.rows[topOther()].best().count != 2*topRows {
		t.Errorf("%d rows, %d requests in the last one", len(table.rows), table.rows[topOther()].best().count)
	}
}

func TestTopTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 15: "15ns", 1234567: "1.23ms", 99999: "100µs", 1999 * time.Millisecond: "2s", 83 * time.Second: "1m23s",
	} {
		if got := topTime(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

// TestTopScreen: what is counted is drawn, scrolled and quit.
func TestTopScreen(t *testing.T) {
	screen := tcell.NewSimulationScreen("UTF-8")
	if err := screen.Init(); err != nil {
		t.Fatal(err)
	}
	screen.SetSize(60, 8)
	top := &top{table: newTopTable(topOptions{})}
	if err := top.event(seen(observe.Outbound, "/a", 200, time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(top, "fairlead: a note")
	s := topScreen{screen, top}
	s.draw(0)
	if got := drawn(screen); !strings.HasPrefix(got[0], "(press q to quit)") || !strings.HasPrefix(got[3], "Source") ||
		!strings.HasPrefix(got[4], "orders-1") || !strings.HasPrefix(got[7], "fairlead: a note") {
		t.Errorf("screen:\n%s", strings.Join(got, "\n"))
	}
	s.draw(topScroll)
	if got := drawn(screen); strings.HasPrefix(got[3], "Source") || !strings.HasPrefix(got[0], "(press q to quit)") {
		t.Errorf("scrolled:\n%s", strings.Join(got, "\n"))
	}
	screen.InjectKey(tcell.KeyRight, 0, tcell.ModNone)
	screen.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
	ended := false
	if err := s.run(t.Context(), func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return ctx.Err()
	}); err != nil || !ended {
		t.Errorf("run() = %v, the work has ended: %t", err, ended)
	}
	screen.Fini()
}

// drawn are the lines of a screen.
func drawn(screen tcell.SimulationScreen) (lines []string) {
	cells, width, height := screen.GetContents()
	for y := range height {
		var b bytes.Buffer
		for x := range width {
			b.WriteString(string(cells[y*width+x].Runes))
		}
		lines = append(lines, b.String())
	}
	return lines
}
