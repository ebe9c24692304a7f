package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostCandidates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, written string
		want          []Hostname
	}{
		{"a short name belongs to the own namespace", "users", []Hostname{"users.myapp.svc.cluster.local"}},
		{"one dot may be service and namespace", "users.other", []Hostname{"users.other", "users.other.svc.cluster.local"}},
		{"one dot may be an external name", "httpbin.org", []Hostname{"httpbin.org", "httpbin.org.svc.cluster.local"}},
		{"the svc form lacks the cluster domain", "users.other.svc", []Hostname{"users.other.svc", "users.other.svc.cluster.local"}},
		{"a full name is itself", "users.other.svc.cluster.local", []Hostname{"users.other.svc.cluster.local"}},
		{"three labels without svc are a full name", "api.example.com", []Hostname{"api.example.com"}},
		{"case and the trailing dot do not count", "Users.", []Hostname{"users.myapp.svc.cluster.local"}},
		{"a wildcard is itself", "*.com", []Hostname{"*.com"}},
		{"the bare wildcard is itself", "*", []Hostname{"*"}},
		{"an IPv4 address is itself", "10.1.2.3", []Hostname{"10.1.2.3"}},
		{"an IPv6 address is itself", "FD00::1", []Hostname{"fd00::1"}},
		{"nothing is itself", "", []Hostname{""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := HostCandidates(tt.written, "myapp", "cluster.local")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("HostCandidates(%q) (-want +got):\n%s", tt.written, diff)
			}
			again := HostCandidates(string(got[0]), "elsewhere", "cluster.local")
			if again[0] != got[0] {
				t.Errorf("HostCandidates(%q)[0] = %q, want itself", got[0], again[0])
			}
		})
	}
}
