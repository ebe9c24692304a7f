package lab

import (
	"slices"
	"strings"
	"testing"
)

// TestProxyless says what the annotation makes of a pod that would get a sidecar.
func TestProxyless(t *testing.T) {
	const agent = "/run/fairlead/bin/fairlead-proxy agent "
	tests := []struct {
		template   string
		sidecar    bool
		init, run  string // how the commands begin, "" for none
		env, error string
	}{
		{template: "", sidecar: true, init: "/run/fairlead/bin/fairlead-proxy init", run: "/run/fairlead/bin/fairlead-proxy run"},
		{template: "sidecar", sidecar: true, init: "/run/fairlead/bin/fairlead-proxy init", run: "/run/fairlead/bin/fairlead-proxy run"},
		{template: "grpc-agent", run: agent + "--controller 10.244.0.1:15012 ", env: "GRPC_XDS_BOOTSTRAP=/run/fairlead/data/grpc-bootstrap.json"},
		{template: "grpc-simple", init: agent + "--xds-server 10.244.0.1:15010 ", env: "GRPC_XDS_BOOTSTRAP=/run/fairlead/data/grpc-bootstrap.json"},
		{template: "gateway", error: `annotation inject.istio.io/templates: "gateway" is no template of the lab: write sidecar, grpc-agent or grpc-simple`},
	}
	for _, tt := range tests {
		t.Run(tt.template, func(t *testing.T) {
			template := parseTemplate(t, `spec: {containers: [{name: app, command: [serve]}]}`)
			if tt.template != "" {
				template.Annotations = map[string]string{"inject.istio.io/templates": tt.template}
			}
			p, err := newPodSpec(testSource(template))
			if tt.error != "" {
				if err == nil || err.Error() != tt.error {
					t.Errorf("= %v, want %s", err, tt.error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.injected != tt.sidecar || slices.Contains(p.containers[0].run.env, tt.env) != (tt.env != "") {
				t.Errorf("sidecar %v, environment %q", p.injected, p.containers[0].run.env)
			}
			m := (&node{cfg: config{Rootful: true}}).meshCommands(&p)
			for got, want := range map[*[]string]string{&m.init.argv: tt.init, &m.run.run.argv: tt.run} {
				if all := strings.Join(*got, " "); !strings.HasPrefix(all, want) || want == "" && all != "" {
					t.Errorf("command %q, want %q", all, want)
				}
			}
		})
	}
}

// A pod that wants nothing of the mesh gets none of it, whatever template it names.
func TestProxylessIsInjection(t *testing.T) {
	template := parseTemplate(t, `{metadata: {annotations: {inject.istio.io/templates: grpc-agent, fairlead.dev/inject: "false"}}, spec: {containers: [{name: app, command: [serve]}]}}`)
	p, err := newPodSpec(testSource(template))
	if err != nil || p.proxyless != "" || p.injected {
		t.Errorf("= %+v, %v", p, err)
	}
}
