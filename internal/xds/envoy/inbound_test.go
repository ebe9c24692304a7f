package envoy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// What a class says of its inbound is read in the one way in which it is written, or refused.
func FuzzParseInbound(f *testing.F) {
	f.Add(describeInbound(&plan.InboundPolicy{MTLS: model.MTLSPermissive}))
	f.Add(describeInbound(&plan.InboundPolicy{MTLS: model.MTLSStrict, Ports: []plan.InboundPort{
		{Port: 5432, Protocol: model.TCP, MTLS: model.MTLSDisable},
		{Port: 8080, Protocol: model.GRPC, MTLS: model.MTLSStrict},
		{Port: 65535, Protocol: model.UDP},
		{Port: 1, Protocol: model.Undeclared, MTLS: model.MTLSPermissive},
	}}))
	for _, s := range []string{"", ",", "0", "080/HTTP/STRICT", "+80/HTTP/STRICT", "65536/HTTP/STRICT", "80/http/STRICT", "80/HTTP/STRICT/", "80/invalid/STRICT", "80/HTTP/STRICT,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, ok := parseInbound(s)
		if !ok {
			if len(ports) > 0 {
				t.Errorf("%q is refused, with ports %v", s, ports)
			}
			return
		}
		var back []string
		for i := range ports {
			back = append(back, describePort(&ports[i]))
		}
		if got := strings.Join(back, ","); got != s {
			t.Errorf("%q is read as what is written %q", s, got)
		}
	})
}

// Every port that a policy can have is read as it was written.
func TestParseInboundReadsWhatIsWritten(t *testing.T) {
	for protocol := model.Undeclared; protocol <= model.UDP; protocol++ {
		for mode := model.MTLSUnset; mode <= model.MTLSDisable; mode++ {
			want := []plan.InboundPort{{Port: 8080, Protocol: protocol, MTLS: mode}, {MTLS: mode}}
			got, ok := parseInbound(describeInbound(&plan.InboundPolicy{Ports: want[:1], MTLS: mode}))
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", protocol, mode, diff)
			}
		}
	}
}
