package controlplane

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
)

func TestNewRefuses(t *testing.T) {
	good := func() Options {
		return Options{Sources: []string{"x"}, Listen: ":0", StateDir: "s", TokenKey: "k", Logger: slog.New(slog.DiscardHandler)}
	}
	tests := []struct {
		name, want string
		change     func(*Options)
	}{
		{"no_logger", "Logger is required", func(o *Options) { o.Logger = nil }},
		{"no_source", "no manifests", func(o *Options) { o.Sources = nil }},
		{"no_state", "no state directory", func(o *Options) { o.StateDir = "" }},
		{"no_token_key", "no public key for workload tokens", func(o *Options) { o.TokenKey = "" }},
		{"no_address", "no address to listen on", func(o *Options) { o.Listen = "" }},
		{"access_log", `access log "xml": must be off, text or json`, func(o *Options) { o.AccessLog = "xml" }},
		{"trust_domain_alias", `trust domain "Old": 'O' is not allowed`, func(o *Options) { o.TrustDomainAliases = []string{"old", "Old"} }},
		{"path_normalization", `path normalization "base": must be BASE, NONE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES`, func(o *Options) { o.PathNormalization = "base" }},
		{"idle_timeout", "idle timeout 1ms: must be at least 1s, or 0s for none", func(o *Options) { o.Limits.Idle = time.Millisecond }},
		{"stream_idle_timeout", "stream idle timeout -1s", func(o *Options) { o.Limits.StreamIdle = -time.Second }},
		{"max_header_bytes", "max header bytes 100: must be from 8192 to 1048576", func(o *Options) { o.Limits.HeadBytes = 100 }},
		{"network", `network "net 1": it is compared with the label topology.istio.io/network: a valid label must be`, func(o *Options) { o.Network = "net 1" }},
		{"mesh_networks", `meshNetworks: net2.gateways[0].address "gw.example.com" is no IP address`, func(o *Options) {
			o.MeshNetworks = `{networks: {net2: {gateways: [{address: gw.example.com, port: 443}]}}}`
		}},
		{"outbound_policy", `outbound policy "DENY": must be ALLOW_ANY or REGISTRY_ONLY`, func(o *Options) { o.OutboundPolicy = "DENY" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	_, public, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, junk := filepath.Join(dir, "key"), filepath.Join(dir, "junk")
	for path, content := range map[string][]byte{key: public, junk: []byte("junk")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, want string
		o          Options
	}{
		{"state_directory_is_a_file", "state directory: ", Options{StateDir: key, TokenKey: key, Listen: "127.0.0.1:0"}},
		{"token_key_missing", "public key for workload tokens: open ", Options{StateDir: filepath.Join(dir, "a"), TokenKey: filepath.Join(dir, "no"), Listen: "127.0.0.1:0"}},
		{"token_key_junk", "public key for workload tokens: " + junk, Options{StateDir: filepath.Join(dir, "b"), TokenKey: junk, Listen: "127.0.0.1:0"}},
		{"port", "discovery port: ", Options{StateDir: filepath.Join(dir, "c"), TokenKey: key, Listen: "256.0.0.1:0"}},
		{"monitor_port", "monitor port: ", Options{StateDir: filepath.Join(dir, "d"), TokenKey: key, Listen: "127.0.0.1:0", Monitor: "256.0.0.1:0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Sources, tt.o.Logger = []string{dir}, slog.New(slog.DiscardHandler)
			c, err := New(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Run = %v, want one line that begins %q", err, tt.want)
			}
		})
	}
}
