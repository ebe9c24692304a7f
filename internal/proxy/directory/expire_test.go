package directory

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// What is in use does not expire; what is not is forgotten, without a word to those who use the rest.
func TestNamesInUseDoNotExpire(t *testing.T) {
	const users = "ip/10.96.0.5:8080"
	address := func(s *Directory) *Cell { return s.aliases[users] }
	const name = "dns/users-service.myapp.svc.cluster.local"
	tests := []struct {
		name, expired string
		prepare       func(s *Directory)
		want          string // why it does not expire
	}{
		{"an_address_just_called", users, func(*Directory) {}, "in use"},
		{"an_address_called_long_ago", users, func(s *Directory) { address(s).used.Store(1) }, ""},
		{"an_address_with_a_connection", users, func(s *Directory) { address(s).used.Store(1); address(s).Enter() }, "in use"},
		{"a_deleted_service_with_a_connection", users, func(s *Directory) {
			address(s).Enter()
			s.Apply([]discovery.Update{{Name: users}})
		}, "in use"},
		{"a_foreign_address", "ip/192.0.2.1:443", func(s *Directory) { s.Apply([]discovery.Update{{Name: "ip/192.0.2.1:443"}}) }, ""},
		{"a_name_just_looked_up", name, func(*Directory) {}, "in use"},
		{"a_name_looked_up_long_ago", name, func(s *Directory) { s.dns[name].used.Store(1) }, ""},
		{"a_foreign_name", "dns/example.com", func(s *Directory) { s.Apply([]discovery.Update{{Name: "dns/example.com"}}) }, ""},
		{"a_name_that_never_came", "dns/example.org", func(*Directory) {}, ""},
		{"an_address_that_never_came", "ip/192.0.2.2:443", func(*Directory) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{
				Self: NewSelf(model.Key{Namespace: "myapp", Name: "orders"}, nil, nil), Metrics: telemetry.NewRegistry("test"),
				Upstreams: upstream.New(upstream.Options{}), Logger: slog.New(slog.DiscardHandler),
			})
			s.Apply([]discovery.Update{
				{Name: "dst/myapp/users:8080", Aliases: []string{users}, Resource: &plan.Destination{Host: "users", Port: 8080}},
				{Name: name, Resource: &plan.DNSName{Host: "users-service.myapp.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.5")}}},
			})
			tt.prepare(s)
			var want []discovery.Rejection
			if tt.want != "" {
				want = []discovery.Rejection{{Name: tt.expired, Reason: tt.want}}
			}
			if diff := cmp.Diff(want, s.Apply([]discovery.Update{{Name: tt.expired, Expired: true}})); diff != "" {
				t.Errorf("Apply (-want +got):\n%s", diff)
			}
		})
	}
}
