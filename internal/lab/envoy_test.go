package lab

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// envoyNode is a node whose lab may have an Envoy.
func envoyNode(t *testing.T, c config, has bool) *node {
	t.Helper()
	n := &node{state: state(t.TempDir()), cfg: c}
	if err := os.MkdirAll(n.state.path("bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if has {
		if err := os.WriteFile(n.state.path("bin", envoyBinary), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestEnvoyIsAskedForByAnnotation(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        bool
		err         string
	}{
		{name: "nothing"},
		{name: "fairlead", value: "fairlead"},
		{name: "envoy", value: "envoy", want: true},
		{name: "another", value: "nginx", err: `annotation fairlead.dev/proxy: "nginx" is no proxy; write envoy or fairlead`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wantsEnvoy(map[string]string{proxyKey: tt.value})
			if got != tt.want || err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
				t.Errorf("wantsEnvoy(%q) = %v, %v, want %v, %q", tt.value, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestWhereNoEnvoyCanBe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		root  bool
		has   bool
		envoy bool
		want  string
	}{
		{name: "root_has_one", root: true, has: true, envoy: true},
		{name: "nobody_asks"},
		{name: "there_is_none", root: true, envoy: true, want: "--envoy PATH"},
		{name: "without_root", has: true, envoy: true, want: "root has started"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := envoyNode(t, config{Rootful: tt.root}, tt.has).checkEnvoy(&podSpec{envoy: tt.envoy})
			if err == nil && tt.want != "" || err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("checkEnvoy() = %v, want %q", err, tt.want)
			}
		})
	}
}

// An Envoy gets the app's connections as every sidecar does, and none of its questions.
func TestCommandsOfAnEnvoy(t *testing.T) {
	n := envoyNode(t, config{Rootful: true, IPFamily: IPv4}, true)
	spec := podSpec{key: model.Key{Namespace: "shop", Name: "web-1"}, envoy: true, addrs: podAddrs{v4: netip.MustParseAddr("10.244.0.9")}}
	m := n.meshCommands(&spec)
	if !slices.Contains(m.init.argv, "--no-dns") || !slices.Contains(m.init.argv, "1337") {
		t.Errorf("init is %q", m.init.argv)
	}
	run := m.run.run.argv
	if len(run) < 2 || run[1] != "envoy" || slices.Contains(run, "--snapshot") || !slices.Contains(run, "/run/fairlead/bin/envoy") || m.run.run.uid != sidecarUID {
		t.Errorf("run is %q as user %d", run, m.run.run.uid)
	}
}
