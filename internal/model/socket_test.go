package model_test

import (
	"net/netip"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

func TestSocketAddr(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/run/app.sock": true, "@app": true, "/a": true, "/" + strings.Repeat("a", 106): true,
		"": false, "/": false, "@": false, "/run/": false, "run/app": false, "/" + strings.Repeat("a", 107): false, "/a b": false, "/a\x00": false, `/a"`: false, `/a\`: false, "/ä": false,
	} {
		if got := model.IsSocketPath(path); got != want {
			t.Errorf("IsSocketPath(%q) = %v", path, got)
		}
		if !want {
			continue
		}
		at := model.SocketAddr(path)
		if !at.IsValid() || model.SocketPath(at.Addr()) != path || model.SocketPath(at.Addr().Unmap()) != path || string(model.AppendAddr(nil, at)) != path {
			t.Errorf("SocketAddr(%q) = %s, %q", path, at, model.AppendAddr(nil, at))
		}
	}
	if a, again := model.SocketAddr("/a"), model.SocketAddr("/"+"a"); a == model.SocketAddr("/b") || a != again {
		t.Error("sockets are not told apart by their paths")
	}
	for _, a := range []string{"10.0.0.1:80", "[fe80::1%eth0]:80", "[::]:80"} {
		at := netip.MustParseAddrPort(a)
		if model.SocketPath(at.Addr()) != "" || string(model.AppendAddr(nil, at)) != a {
			t.Errorf("%s is taken for a socket", a)
		}
	}
}
