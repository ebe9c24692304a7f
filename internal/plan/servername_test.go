package plan

import (
	"net/netip"
	"testing"
)

func TestServerName(t *testing.T) {
	users := HostPort{Host: "users.myapp.svc.cluster.local", Port: 8080}
	for _, c := range []struct {
		name string
		is   ServerName
		text string
	}{
		{"all_endpoints", ServerName{At: users}, "outbound_.8080_._.users.myapp.svc.cluster.local"},
		{"a_subset", ServerName{At: users, Subset: "v1"}, "outbound_.8080_.v1_.users.myapp.svc.cluster.local"},
		{"a_pod", ServerName{At: users, Pod: netip.MustParseAddr("10.244.0.7")}, "pod_.8080_.10-244-0-7_.users.myapp.svc.cluster.local"},
		{"a_pod_by_ipv6", ServerName{At: users, Pod: netip.MustParseAddr("fd00:10:244::7")}, "pod_.8080_.fd00-10-244--7_.users.myapp.svc.cluster.local"},
		{"a_pod_whose_address_ends_with_zeros", ServerName{At: users, Pod: netip.MustParseAddr("fd00:10::")}, "pod_.8080_.fd00-10--_.users.myapp.svc.cluster.local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.is.String(); got != c.text {
				t.Errorf("String() = %q, want %q", got, c.text)
			}
			if got, ok := ParseServerName(c.text); !ok || got != c.is {
				t.Errorf("ParseServerName(%q) = %+v, %v, want %+v", c.text, got, ok, c.is)
			}
		})
	}
	if got, ok := ParseServerName("OUTBOUND_.8080_.V1_.Users.MyApp.svc.cluster.local"); !ok || got != (ServerName{At: users, Subset: "v1"}) {
		t.Errorf("in upper case: %+v, %v", got, ok)
	}
}

func TestParseServerNameRefuses(t *testing.T) {
	for _, s := range []string{
		"", "users.myapp.svc.cluster.local", "outbound", "outbound_.", "outbound_.8080_.", "outbound_.8080_._.", "outbound_.8080_._.",
		"outbound_.8080_.users", // one mark too few
		"outbound_.0_._.users", "outbound_.08080_._.users", "outbound_.65536_._.users", "outbound_.-1_._.users",
		"outbound_.8080_._.*.myapp", "outbound_.8080_._.users.", "outbound_.8080_._.a/b", "outbound_.8080_._.a?ns=b",
		"outbound_.8080_._.users:80", "outbound_.8080_.v1/x_.users", "outbound_.8080_._.a_.b",
		"pod_.8080_._.users", "pod_.8080_.10.244.0.7_.users", "pod_.8080_.10-244-0_.users", "pod_.8080_.010-244-0-7_.users",
		"pod_.8080_.fe80--1%eth0_.users", "pod_.8080_.0-0-0-0-0-0-0-1_.users",
	} {
		if got, ok := ParseServerName(s); ok {
			t.Errorf("ParseServerName(%q) = %+v, want none", s, got)
		}
	}
}

// What is read is what is written: a gateway that read two spellings alike would have two names for one thing.
func FuzzServerName(f *testing.F) {
	for _, s := range []string{
		"outbound_.8080_._.users.myapp.svc.cluster.local", "outbound_.8080_.v1_.users", "pod_.8080_.10-244-0-7_.users", "pod_.1_.fd00--7_.u",
		"pod_.8080_.1-2-3-4-5-6-7-8_.users",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := ParseServerName(s)
		if !ok {
			return
		}
		again, ok := ParseServerName(n.String())
		if !ok || again != n {
			t.Errorf("%q is %+v, written %q, read again %+v, %v", s, n, n, again, ok)
		}
		if _, ok := ParseName(PassageName(n.At)); !ok {
			t.Errorf("%q leads to %q, which is no name", s, PassageName(n.At))
		}
	})
}
