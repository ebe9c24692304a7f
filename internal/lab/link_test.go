package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// runningLab makes the directory of a lab that seems to run.
func runningLab(t *testing.T, base string, cfg config) state {
	t.Helper()
	s, err := openState(base, cfg.Name)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := writeJSON(s.config(), cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChoosePodNetwork(t *testing.T) {
	base := t.TempDir()
	runningLab(t, base, config{Name: "first", PodNetwork: 244})
	runningLab(t, base, config{Name: "third", PodNetwork: 246})
	s, err := openState(base, "mine")
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{
		"": "10.245.0.0/16", "10.200.0.0/16": "10.200.0.0/16",
		"10.246.0.0/16": `lab "third" has it`, "10.96.0.0/16": "write one of", "10.245.0.0/24": "write one of", "10.245.1.0/16": "write one of",
		"192.168.0.0/16": "write one of", "10.255.0.0/16": "write one of", "fd00::/16": "write one of", "x": "write one of",
	} {
		got := ""
		err := s.choosePodNetwork(asked, func(n podNetwork) error { got = n.v4().String(); return nil })
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("--pod-network %q: %s, want %s", asked, got, want)
		}
	}
	if got := podNetwork(245).v6(); got != netip.MustParsePrefix("fd00:10:245::/112") || podIP6(netip.MustParseAddr("10.245.1.2")) != netip.MustParseAddr("fd00:10:245::102") {
		t.Errorf("the IPv6 network of 10.245.0.0/16 is %s, and its pod %s", got, podIP6(netip.MustParseAddr("10.245.1.2")))
	}
}

func TestLabsThatCannotBeLinked(t *testing.T) {
	base := t.TempDir()
	lab := func(cfg config) *Client { return &Client{state: runningLab(t, base, cfg)} }
	west := lab(config{Name: "west", PodNetwork: 244, IPFamily: DualStack})
	for _, tt := range []struct {
		name  string
		other *Client
		want  string
	}{
		{"itself", west, "cannot be linked to itself"},
		{"plain", lab(config{Name: "plain", PodNetwork: 245, Plain: true}), "--plain"},
		{"same_name", lab(config{Name: "other", PodNetwork: 245, MeshFlags: []string{"--cluster-id=west"}}), `both clusters are called "west"`},
		{"same_network", lab(config{Name: "overlaps", PodNetwork: 244, IPFamily: IPv4}), "--pod-network"},
		{"one_family_of_two", lab(config{Name: "six", PodNetwork: 245, IPFamily: IPv6}), ""},
		{"fits", lab(config{Name: "east", PodNetwork: 246, IPFamily: IPv4}), ""},
	} {
		_, _, err := west.linkable(tt.other)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	four := lab(config{Name: "four", PodNetwork: 247, IPFamily: IPv4})
	six := lab(config{Name: "sixth", PodNetwork: 248, IPFamily: IPv6})
	if _, _, err := four.linkable(six); err == nil || !strings.Contains(err.Error(), "--ip-family") {
		t.Errorf("a lab of IPv4 and one of IPv6: %v", err)
	}
}

// A lab is called by its gateway or directly, by all that it is linked to. What is refused changes nothing; a link without gateways takes those
// away that an earlier one has left.
func TestLinksOfBothKinds(t *testing.T) {
	base := t.TempDir()
	lab := func(name string, n podNetwork) *Client {
		s := runningLab(t, base, config{Name: name, PodNetwork: n})
		if err := os.WriteFile(s.rootCert(), []byte("root"), 0o600); err != nil {
			t.Fatal(err)
		}
		return &Client{state: s}
	}
	west, east, north := lab("west", 244), lab("east", 245), lab("north", 246)
	applied := func(c *Client) int {
		entries, err := os.ReadDir(c.state.applied())
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	linked := func(cfg config) {
		if err := errors.Join(forgetPeer(west.state, cfg.toLink()), tellPeer(west.state, east.state, &cfg)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	linked(config{Name: "east", PodNetwork: 245})
	refused(LinkSeparate(t.Context(), north, west), `lab "west" is linked to cluster "east" without gateways`)
	refused(LinkSeparate(t.Context(), east, west), `lab "west" is linked to cluster "east" without gateways`)
	if n := applied(west) + applied(east) + applied(north); n > 0 {
		t.Errorf("%d objects were applied for links that were refused", n)
	}
	linked(config{Name: "east", PodNetwork: 245, byGateways: true})
	cfg, err := west.state.readConfig()
	if err == nil {
		err = addGateway(west, &cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	const gateway = 4 // objects
	refused(Link(t.Context(), west, north), `lab "west" is linked to cluster "east" by gateways`)
	refused(LinkForMirrors(t.Context(), north, west), `lab "west" is linked to cluster "east" by gateways`)
	if n := applied(west); n != gateway {
		t.Errorf("the gateway has %d objects, want %d", n, gateway)
	}
	if err := forgetPeer(west.state, (&config{Name: "east"}).toLink()); err != nil {
		t.Fatal(err)
	}
	refused(Link(t.Context(), west, north), "is not running") // nothing more is in its way
	if n := applied(west); n > 0 {
		t.Errorf("%d objects of the gateway stay", n)
	}
}

// What a control plane is told of another lab is there as a whole, or not.
func TestTellPeer(t *testing.T) {
	base := t.TempDir()
	cfg := config{Name: "east", PodNetwork: 245, Paths: []string{filepath.Join(base, "manifests")}}
	west, east := runningLab(t, base, config{Name: "west", PodNetwork: 244}), runningLab(t, base, cfg)
	if err := tellPeer(west, east, &cfg); err == nil {
		t.Error("a lab whose control plane has no root yet is linked")
	}
	if entries, _ := os.ReadDir(west.path("clusters")); len(entries) > 0 {
		t.Errorf("the control plane is told half: %v", entries)
	}
	if err := os.WriteFile(east.rootCert(), []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, as after a crash
		if err := os.RemoveAll(west.path("clusters", "east")); err != nil {
			t.Fatal(err)
		}
		if err := tellPeer(west, east, &cfg); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{cfg.Paths[0], east.applied(), east.generated()} {
		got, err := os.Readlink(west.path("clusters", "east", "00"+string(rune('0'+i))))
		if err != nil || got != want {
			t.Errorf("source %d is %q, %v, want %q", i, got, err, want)
		}
	}
	if err := forgetPeer(west, cfg.toLink()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{west.path("clusters", "east"), west.path("roots", "east.pem")} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s stays", path)
		}
	}
}

// A wire carries both ways, and ends with either end.
func TestCarry(t *testing.T) {
	end := func() (inner, outer *os.File) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		inner, outer = os.NewFile(uintptr(pair[0]), "inner"), os.NewFile(uintptr(pair[1]), "outer")
		t.Cleanup(func() { outer.Close() })
		return inner, outer
	}
	inA, outA := end()
	inB, outB := end()
	done := make(chan error, 1)
	go func() { done <- carry(t.Context(), inA, inB) }()
	frame := make([]byte, maxFrame)
	for _, way := range [][2]*os.File{{outA, outB}, {outB, outA}} {
		if _, err := way[0].WriteString("a frame"); err != nil {
			t.Fatal(err)
		}
		if n, err := way[1].Read(frame); err != nil || string(frame[:n]) != "a frame" {
			t.Errorf("at the other end: %q, %v", frame[:n], err)
		}
	}
	outA.Close()
	if err := <-done; err == nil {
		t.Error("no reason for the end of the wire")
	}
	if _, err := outB.WriteString("late"); !errors.Is(err, unix.EPIPE) {
		t.Errorf("the other end is still open: %v", err)
	}
	inA, _ = end()
	inB, _ = end()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- carry(ctx, inA, inB) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("an end that was asked for: %v", err)
	}
}
