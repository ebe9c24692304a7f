package route

import (
	"math"
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestMatchTCP(t *testing.T) {
	dst := netip.MustParseAddrPort("10.96.0.5:3306")
	from := Caller{Namespace: "myapp", Labels: map[string]string{"app": "orders"}}
	tests := []struct {
		name string
		m    model.TCPMatch
		want bool
	}{
		{"empty_always", model.TCPMatch{}, true},
		{"port", model.TCPMatch{Port: 3306}, true},
		{"other_port", model.TCPMatch{Port: 3307}, false},
		{"source_namespace", model.TCPMatch{SourceNamespace: "myapp"}, true},
		{"other_source_namespace", model.TCPMatch{SourceNamespace: "other"}, false},
		{"source_label", model.TCPMatch{SourceLabels: map[string]string{"app": "orders"}}, true},
		{"other_source_label", model.TCPMatch{SourceLabels: map[string]string{"app": "orders", "v": "1"}}, false},
		{"subnet", model.TCPMatch{DestinationSubnets: []string{"192.168.0.0/16", "10.96.0.0/12"}}, true},
		{"other_subnet", model.TCPMatch{DestinationSubnets: []string{"192.168.0.0/16"}}, false},
		{"single_address", model.TCPMatch{DestinationSubnets: []string{"10.96.0.5"}}, true},
		{"nonsense_never", model.TCPMatch{DestinationSubnets: []string{"ten"}}, false},
		{"source", model.TCPMatch{SourceSubnet: "10.244.0.0/16"}, true},
		{"source_address", model.TCPMatch{SourceSubnet: "10.244.0.7"}, true},
		{"other_source", model.TCPMatch{SourceSubnet: "10.245.0.0/16"}, false},
		{"nonsense_source_never", model.TCPMatch{SourceSubnet: "ten"}, false},
		{"source_and_subnet", model.TCPMatch{SourceSubnet: "10.244.0.0/16", DestinationSubnets: []string{"192.168.0.0/16"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := CompileTCP([]plan.TCPRoute{{Matches: []model.TCPMatch{tt.m}}})
			if got := table.Match(Connection{To: dst, From: netip.MustParseAddr("::ffff:10.244.0.7")}, from) != nil; got != tt.want {
				t.Errorf("matches = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestMatchTCPServerName(t *testing.T) {
	tests := []struct {
		name  string
		names []string
		asked string
		want  bool
	}{
		{"no_names_match_anything", nil, "", true},
		{"exact", []string{"a.example.com"}, "a.example.com", true},
		{"case_does_not_count", []string{"A.example.com"}, "a.EXAMPLE.com", true},
		{"wildcard", []string{"*.example.com"}, "a.example.com", true},
		{"wildcard_does_not_cover_its_own_suffix", []string{"*.example.com"}, "example.com", false},
		{"another", []string{"a.example.com"}, "b.example.com", false},
		{"no_name_asked", []string{"a.example.com"}, "", false},
		{"second_of_two", []string{"a.example.com", "b.example.com"}, "b.example.com", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := CompileTCP([]plan.TCPRoute{{Matches: []model.TCPMatch{{SNI: tt.names}}}})
			if got := table.Match(Connection{ServerName: tt.asked}, Caller{}) != nil; got != tt.want {
				t.Errorf("%q matches %q = %v, want %v", tt.names, tt.asked, got, tt.want)
			}
		})
	}
}

func TestTCPPick(t *testing.T) {
	t.Parallel()
	table := CompileTCP([]plan.TCPRoute{
		{Matches: []model.TCPMatch{{Port: 1}}, Backends: []plan.WeightedBackend{{Backend: 7}}},
		{Matches: []model.TCPMatch{{Port: 3}}, Backends: []plan.WeightedBackend{{Backend: 8, Weight: 1}}},
		{Backends: []plan.WeightedBackend{{Backend: 3, Weight: 1}, {Backend: 4}, {Backend: 5, Weight: 3}}},
	})
	one := table.Match(Connection{To: netip.MustParseAddrPort("10.0.0.1:1")}, Caller{})
	if at, ok := one.Pick(0); ok {
		t.Errorf("Pick among weights of 0 = %d, want none", at)
	}
	single := table.Match(Connection{To: netip.MustParseAddrPort("10.0.0.1:3")}, Caller{})
	if at, ok := single.Pick(math.MaxUint64); !ok || at != 8 {
		t.Errorf("Pick of the only one = %d, %t, want 8", at, ok)
	}
	two := table.Match(Connection{To: netip.MustParseAddrPort("10.0.0.1:2")}, Caller{})
	for random, want := range map[uint64]uint16{0: 3, math.MaxUint64 / 5: 3, math.MaxUint64 / 3: 5, math.MaxUint64: 5} {
		if at, ok := two.Pick(random); !ok || at != want {
			t.Errorf("Pick(%d) = %d, %t, want %d", random, at, ok, want)
		}
	}
}
