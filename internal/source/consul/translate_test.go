package consul

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/model"
)

var usersRef = model.Ref{Kind: "ServiceEntry", Key: model.Key{Namespace: "consul", Name: "users@service.consul"}}

// lines prints what is called, one line for each fact.
func lines(t translation) (out []string) {
	if t.spec != nil {
		var ports strings.Builder
		for _, p := range t.spec.GetPorts() {
			fmt.Fprintf(&ports, " %d%s", p.GetNumber(), p.GetProtocol())
		}
		out = append(out, t.spec.GetResolution().String()+ports.String()+" "+strings.Join(t.spec.GetSubjectAltNames(), " "))
		for _, e := range t.spec.GetEndpoints() {
			line := fmt.Sprintf("%s:%d *%d %s", e.GetAddress(), e.GetPorts()[t.spec.GetPorts()[0].GetName()], e.GetWeight(), e.GetLocality())
			text, _ := json.Marshal(e.GetLabels()) // strings always can be
			out = append(out, strings.TrimRight(line, " ")+" "+string(text))
		}
	}
	for i := range t.problems {
		out = append(out, t.problems[i].Field+": "+t.problems[i].Message)
	}
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	in := func(written ...string) (out []entry) {
		for i, w := range written {
			var e entry
			if err := json.Unmarshal([]byte(w), &e); err != nil {
				t.Fatal(err)
			}
			e.Node.Node, e.Node.Address = "node", "192.0.2.9"
			if e.Service.ID == "" {
				e.Service.ID = fmt.Sprint("i", i)
			}
			out = append(out, e)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		in   []entry
		want []string
	}{
		{"its_own_address", in(`{"Service": {"Address": "10.0.0.1", "Port": 80}}`), []string{"STATIC 80", "10.0.0.1:80 *1 {}"}},
		{"that_of_its_node", in(`{"Service": {"Port": 80}}`), []string{"STATIC 80", "192.0.2.9:80 *1 {}"}},
		{
			"a_name", in(`{"Service": {"Address": "a.example.com", "Port": 80}}`, `{"Service": {"Address": "10.0.0.1", "Port": 80}}`),
			[]string{"DNS 80", "a.example.com:80 *1 {}", "10.0.0.1:80 *1 {}"},
		},
		{
			"ports_lead_to_all", in(`{"Service": {"Address": "10.0.0.1", "Port": 81}}`, `{"Service": {"Address": "10.0.0.2", "Port": 80, "Meta": {"fairlead-port": "443"}}}`),
			[]string{"STATIC 80 81 443", "10.0.0.1:81 *1 {}", `10.0.0.2:80 *1 {"fairlead-port":"443"}`},
		},
		{
			"weights", in(
				`{"Service": {"Port": 80, "Weights": {"Passing": 5, "Warning": 2}}, "Checks": [{"Status": "passing"}]}`,
				`{"Service": {"Port": 80, "Weights": {"Passing": 5, "Warning": 2}}, "Checks": [{"Status": "warning"}, {"Status": "passing"}]}`,
				`{"Service": {"Port": 80, "Weights": {"Passing": 5, "Warning": 0}}, "Checks": [{"Status": "warning"}]}`,
				`{"Service": {"Port": 80, "Weights": {"Passing": 5, "Warning": 2}}, "Checks": [{"Status": "warning"}, {"Status": "critical"}]}`,
				`{"Service": {"Port": 80}, "Checks": [{"Status": "maintenance"}]}`, `{"Service": {"Port": 80}, "Checks": [{"Status": "whatever"}]}`,
				`{"Service": {"Port": 80, "Weights": {"Passing": -1, "Warning": -1}}}`, `{"Service": {"Port": 80, "Weights": {"Passing": 9999999, "Warning": 1}}}`),
			[]string{"STATIC 80", "192.0.2.9:80 *5 {}", "192.0.2.9:80 *2 {}", "192.0.2.9:80 *65535 {}"},
		},
		{"none_is_well", in(`{"Service": {"Address": "a.example.com", "Port": 80}, "Checks": [{"Status": "critical"}]}`), []string{"STATIC 80"}},
		{"nobody", nil, nil},
		{"proxies_and_gateways", in(`{"Service": {"Kind": "connect-proxy", "Port": 80}}`, `{"Service": {"Kind": "mesh-gateway", "Port": 80}}`), nil},
		{
			"labels", in(`{"Service": {"Port": 80, "Tags": ["v1", "team=a", "version=from-tag", "traefik.rule=Host(x)", "a b", ""], "Meta": {"version": "v1", "url": "http://x", "k": ""}}}`),
			[]string{"STATIC 80", `192.0.2.9:80 *1 {"k":"","tag.consul.fairlead.dev/v1":"true","team":"a","version":"v1"}`},
		},
		{
			"localities", in(`{"Node": {"Locality": {"Region": "r1", "Zone": "z1"}}, "Service": {"Port": 80}}`,
				`{"Node": {"Locality": {"Region": "r1", "Zone": "z1"}}, "Service": {"Port": 80, "Locality": {"Region": "r2", "Zone": "a/b"}}}`),
			[]string{"STATIC 80", "192.0.2.9:80 *1 r1/z1 {}", "192.0.2.9:80 *1 r2 {}"},
		},
		{
			"who_it_is", in(`{"Service": {"Port": 80, "Meta": {"fairlead-spiffe-id": "spiffe://td/a"}}}`, `{"Service": {"Port": 80}}`),
			[]string{"STATIC 80 spiffe://td/a", "192.0.2.9:80 *1 {}", `192.0.2.9:80 *1 {"security.istio.io/tlsMode":"disabled"}`},
		},
		{
			"who_they_are", in(`{"Service": {"Port": 80, "Meta": {"fairlead-spiffe-id": "spiffe://td/b"}}}`, `{"Service": {"Port": 80, "Meta": {"fairlead-spiffe-id": "spiffe://td/a"}}}`, `{"Service": {"Port": 80, "Meta": {"fairlead-spiffe-id": "x"}}}`),
			[]string{
				"STATIC 80 spiffe://td/a", "192.0.2.9:80 *1 {}", "192.0.2.9:80 *1 {}", `192.0.2.9:80 *1 {"fairlead-spiffe-id":"x"}`,
				`Meta[fairlead-spiffe-id]: "x" is not a SPIFFE ID`, "Meta[fairlead-spiffe-id]: instances are spiffe://td/a and others: all have to be the first",
			},
		},
		{"what_they_speak", in(`{"Service": {"Port": 80, "Meta": {"fairlead-protocol": "grpc"}}}`), []string{"STATIC 80grpc", `192.0.2.9:80 *1 {"fairlead-protocol":"grpc"}`}},
		{
			"different_things", in(`{"Service": {"Port": 80, "Meta": {"fairlead-protocol": "grpc"}}}`, `{"Service": {"Port": 80}}`),
			[]string{"STATIC 80", `192.0.2.9:80 *1 {"fairlead-protocol":"grpc"}`, "192.0.2.9:80 *1 {}", "Meta[fairlead-protocol]: instances say different things: the protocol is detected"},
		},
		{
			"bad_ports", in(`{"Service": {"ID": "a", "Port": 0}}`, `{"Service": {"ID": "b", "Port": 70000}}`, `{"Service": {"ID": "c", "Port": 80, "Meta": {"fairlead-port": "http"}}}`),
			[]string{
				"STATIC 80", `192.0.2.9:80 *1 {"fairlead-port":"http"}`, `instance "a": port 0: it is left out`, `instance "b": port 70000: it is left out`,
				`Meta[fairlead-port]: "http" is not a port`,
			},
		},
		{
			"bad_addresses", in(`{"Service": {"ID": "a", "Address": "127.0.0.1", "Port": 80}}`, `{"Service": {"ID": "b", "Address": "::ffff:127.0.0.1", "Port": 80}}`,
				`{"Service": {"ID": "c", "Address": "169.254.169.254", "Port": 80}}`, `{"Service": {"ID": "d", "Address": "a b", "Port": 80}}`,
				`{"Service": {"ID": "e", "Address": "unix:///x", "Port": 80}}`, `{"Service": {"ID": "f", "Address": "0.0.0.0", "Port": 80}}`, `{"Service": {"ID": "g", "Address": "fe80::1%eth0", "Port": 80}}`),
			[]string{
				`instance "a": address 127.0.0.1 is another one for each caller: it is left out`, `instance "b": address ::ffff:127.0.0.1 is another one for each caller: it is left out`,
				`instance "c": address 169.254.169.254 is another one for each caller: it is left out`, `instance "d": address "a b" is neither an address nor a name: it is left out`,
				`instance "e": address "unix:///x" is neither an address nor a name: it is left out`, `instance "f": address 0.0.0.0 is another one for each caller: it is left out`,
				`instance "g": address fe80::1%eth0 is another one for each caller: it is left out`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, lines(translate(usersRef, tt.in))); diff != "" {
				t.Errorf("translate (-want +got):\n%s", diff)
			}
			slices.Reverse(tt.in)
			if diff := cmp.Diff(tt.want, lines(translate(usersRef, tt.in))); diff != "" {
				t.Errorf("in another order (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTooMuch: a catalog cannot make the mesh grow beyond its bounds.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	var list []entry
	for i := range maxInstances + 5 {
		e := entry{Service: service{ID: fmt.Sprintf("%06d", i), Address: "10.0.0.1", Port: 1 + i%100}}
		for j := range 2 * maxLabels {
			e.Service.Tags = append(e.Service.Tags, fmt.Sprint("t", j))
		}
		list = append(list, e)
	}
	got := translate(usersRef, list)
	if len(got.spec.GetEndpoints()) != maxInstances || len(got.spec.GetPorts()) != maxPorts || len(got.spec.GetEndpoints()[0].GetLabels()) != maxLabels || len(got.problems) != 2 {
		t.Errorf("%d endpoints, %d ports, %d labels, problems %v", len(got.spec.GetEndpoints()), len(got.spec.GetPorts()), len(got.spec.GetEndpoints()[0].GetLabels()), got.problems)
	}
}

// FuzzTranslate: whatever a server answers, what comes of it is a ServiceEntry without a mistake, but for the protocol, which only
// that of ServiceEntries knows.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(`[{"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "a", "Port": 80, "Tags": ["a=b", "c"], "Meta": {"fairlead-port": "81"}}, "Checks": [{"Status": "passing"}]}]`))
	f.Add([]byte(`[{"Service": {"Address": "a.example.com", "Port": 80, "Meta": {"fairlead-spiffe-id": "spiffe://td/a"}, "Locality": {"Region": "r"}}}]`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var list []entry
		if json.Unmarshal(answer, &list) != nil {
			return
		}
		for i := range list {
			delete(list[i].Service.Meta, metaProtocol)
		}
		got := translate(usersRef, list)
		if got.spec == nil {
			return
		}
		entry, ok := object(usersRef, "users.service.consul", got.spec).Value.(*networkingv1.ServiceEntry)
		if !ok {
			t.Fatal("no ServiceEntry")
		}
		services, problems := istio.ServiceEntry(entry, "cluster.local")
		if len(services) != 1 {
			t.Errorf("refused: %v", problems)
		}
		for i := range problems {
			if len(got.spec.GetEndpoints()) > 0 {
				t.Errorf("%v", problems[i])
			}
		}
		if got.spec.GetResolution() != networking.ServiceEntry_STATIC && got.spec.GetResolution() != networking.ServiceEntry_DNS {
			t.Errorf("resolution %s", got.spec.GetResolution())
		}
	})
}
