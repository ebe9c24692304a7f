package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/ca"
)

func TestRun(t *testing.T) {
	_, public, err := ca.GenerateTokenKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, public, 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"--source", t.TempDir(), "--state-dir", filepath.Join(dir, "state"), "--token-key", key, "--listen", "127.0.0.1:0", "--monitor", ""}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"version"}, exitOK, "fairlead-controller ", ""},
		{"help", []string{"-h"}, exitOK, "-outbound-policy", ""},
		{"stopped_by_a_signal", good, exitOK, "", ""},
		{"unknown_flag", with("--nope"), exitUsage, "", "flag provided but not defined: -nope"},
		{"argument", with("nope"), exitUsage, "", `unexpected argument "nope"`},
		{"no_source", good[2:], exitUsage, "", "no manifests: give at least one --source"},
		{"no_state", []string{"--source", "x"}, exitUsage, "", "no --state-dir"},
		{"choice", with("--access-log", "xml"), exitUsage, "", "must be one of off, text, json"},
		{"consul", with("--consul-address", "https://consul.example.com", "--consul-datacenters", "dc2, dc3", "--consul-server-name", "server.dc1.consul"), exitOK, "", ""},
		{"consul_without_address", with("--consul-token-file", "/token"), exitUsage, "", "--consul-token-file without --consul-address"},
		{"bad_consul", with("--consul-address", "ftp://a"), exitUsage, "", `consul: address "ftp://a": write HOST:PORT`},
		{"consul_with_a_path", with("--consul-address", "a:8500/v1"), exitUsage, "", "write a host and a port, and nothing behind it"},
		{"consul_without_tls", with("--consul-address", "a:8500", "--consul-ca-file", "/ca"), exitUsage, "", "write https://"},
		{"half_a_certificate", with("--consul-address", "https://a", "--consul-cert-file", "/c"), exitUsage, "", "takes both its file and that of its key"},
		{"bad_datacenter", with("--consul-address", "a:8500", "--consul-datacenters", "*,dc2"), exitUsage, "", `datacenter "*"`},
		{"locality", with("--locality-lb-setting", `{"failoverPriority":["topology.kubernetes.io/zone"]}`), exitOK, "", ""},
		{"bad_locality", with("--locality-lb-setting", "failover: [{from: west, to: west}]"), exitUsage, "", `localityLbSetting.failover[0].to: "west" fails over to itself`},
		{"no_locality", with("--locality-lb-setting", "failovr: []"), exitUsage, "", `unknown field "failovr"`},
		{"bundles", with("--ca-certificates", "[{spiffeBundleUrl: https://a.example, trustDomains: [a.example]}]"), exitOK, "", "workloads of a trust domain whose bundle is followed are no peers"},
		{"bad_bundles", with("--ca-certificates", "[{spiffeBundleUrl: http://a.example, trustDomains: [a.example]}]"), exitUsage, "", "caCertificates[0].spiffeBundleUrl: http://a.example: a bundle comes by https"},
		{"tracing", with("--tracing-otlp-endpoint", "collector.observability:4317", "--tracing-sampling", "0.5", "--extension-providers", `[{"name":"dd","datadog":{"service":"a.b","port":1}}]`), exitOK, "", "option without effect"},
		{"bad_sampling", with("--tracing-sampling", "101"), exitUsage, "", "tracing sampling: 101 is not a percentage"},
		{"no_sampling", with("--tracing-sampling", "NaN"), exitUsage, "", "tracing sampling: NaN is not a percentage"},
		{"bad_collector", with("--tracing-otlp-endpoint", "http://collector:4317"), exitUsage, "", `tracing otlp endpoint: "http://collector:4317": "http://collector" is not a host`},
		{"two_collectors", with("--tracing-otlp-endpoint", "a:1", "--tracing-zipkin-endpoint", "b:2"), exitUsage, "", "spans go to one collector"},
		{"collector_of_nobody", with("--default-providers", "tracing: [jaeger]"), exitUsage, "", `defaultProviders.tracing[0]: "jaeger" is none of the providers that spans can be sent to: extensionProviders has none`},
		{"two_of_a_name", with("--tracing-otlp-endpoint", "a:1", "--extension-providers", "[{name: otlp, zipkin: {service: z, port: 1}}]"), exitUsage, "", `extensionProviders has a provider "otlp" as well`},
		{"bad_tags", with("--tracing-custom-tags", "{team: {}}"), exitUsage, "", "tracing: customTags[team]: no source"},
		{"certificates_for_an_hour", with("--workload-cert-ttl", "1h"), exitOK, "", ""},
		{"certificates_that_end_at_once", with("--workload-cert-ttl", "5s"), exitUsage, "", `invalid value "5s" for flag -workload-cert-ttl: must be 30s at least`},
		{"cannot_listen", with("--listen", "256.0.0.1:1"), exitFailed, "", "fairlead-controller: discovery port: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // whatever runs ends at once
			var stdout, stderr strings.Builder
			if code := run(ctx, tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d; stderr: %s", code, tt.code, stderr.String())
			}
			if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stdout %q, stderr %q; want %q, %q", stdout.String(), stderr.String(), tt.stdout, tt.stderr)
			}
		})
	}
}

func TestInboundRetries(t *testing.T) {
	for arg, off := range map[string]bool{"--pprof": false, "--inbound-retries": false, "--inbound-retries=true": false, "--inbound-retries=false": true} {
		o, err := parse([]string{"--source", "x", "--state-dir", "y", "--token-key", "z", arg}, io.Discard, io.Discard)
		if err != nil || o.NoInboundRetries != off {
			t.Errorf("%s: switched off %t, %v; want %t", arg, o.NoInboundRetries, err, off)
		}
	}
}
