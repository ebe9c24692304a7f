package plan_test

import (
	"net/netip"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func names() map[string]plan.Name {
	users := plan.HostPort{Host: "users.myapp.svc.cluster.local", Port: 8080}
	pod := plan.HostPort{Host: "10.1.0.7", Port: 8080}
	six := plan.HostPort{Host: "fd00::7", Port: 80}
	return map[string]plan.Name{
		"dst/myapp/users.myapp.svc.cluster.local:8080":           {Kind: plan.NameDestination, Namespace: "myapp", At: users},
		"dst/myapp/users.myapp.svc.cluster.local:8080?ns=other":  {Kind: plan.NameDestination, Namespace: "myapp", At: users, Client: "other"},
		"dst/myapp/[fd00::7]:80":                                 {Kind: plan.NameDestination, Namespace: "myapp", At: six},
		"pod/10.1.0.7:8080":                                      {Kind: plan.NamePod, At: pod},
		"pod/[fd00::7]:80?ns=other":                              {Kind: plan.NamePod, At: six, Client: "other"},
		"pod/net-2/10.1.0.7:8080":                                {Kind: plan.NamePod, At: pod, Network: "net-2"},
		"eps/users.myapp.svc.cluster.local:8080/slice/u-x1":      {Kind: plan.NameShard, At: users, Source: plan.FromSlice, Slice: "u-x1", Part: 1},
		"eps/users.myapp.svc.cluster.local:8080/slice/east/u-x1": {Kind: plan.NameShard, At: users, Source: plan.FromSlice, Cluster: "east", Slice: "u-x1", Part: 1},
		"eps/users.myapp.svc.cluster.local:8080/slice/u#2?ns=a":  {Kind: plan.NameShard, At: users, Source: plan.FromSlice, Slice: "u", Part: 2, Client: "a"},
		"eps/users.myapp.svc.cluster.local:8080/static/myapp#3":  {Kind: plan.NameShard, At: users, Source: plan.FromStatic, Namespace: "myapp", Part: 3},
		"eps/users.myapp.svc.cluster.local:8080/workloads/myapp": {Kind: plan.NameShard, At: users, Source: plan.FromWorkloads, Namespace: "myapp", Part: 1},
		"eps/10.1.0.7:8080/pod":                                  {Kind: plan.NameShard, At: pod, Source: plan.FromPod, Part: 1},
		"eps/10.1.0.7:8080/pod/net-2":                            {Kind: plan.NameShard, At: pod, Source: plan.FromPod, Network: "net-2", Part: 1},
		"ip/10.1.0.7":                                            {Kind: plan.NameWorkload, IP: netip.MustParseAddr("10.1.0.7")},
		"ip/net-2/fd00::7":                                       {Kind: plan.NameWorkload, Network: "net-2", IP: netip.MustParseAddr("fd00::7")},
		"ip/10.1.0.7:8080":                                       {Kind: plan.NameAddress, At: pod},
		"ip/[fd00::7]:80":                                        {Kind: plan.NameAddress, At: six},
		"host/users.myapp.svc.cluster.local:8080":                {Kind: plan.NameHost, At: users},
		"in/myapp/users-1":                                       {Kind: plan.NameInbound, Namespace: "myapp", Pod: "users-1"},
		"in/east/myapp/users-1":                                  {Kind: plan.NameInbound, Cluster: "east", Namespace: "myapp", Pod: "users-1"},
		"dns/users.myapp.svc.cluster.local":                      {Kind: plan.NameDNS, Host: users.Host},
		"trust":                                                  {Kind: plan.NameTrust},
		"mesh":                                                   {Kind: plan.NameMesh},
	}
}

func TestNames(t *testing.T) {
	for text, want := range names() {
		if got := want.String(); got != text {
			t.Errorf("String() = %q, want %q", got, text)
		}
		if got, ok := plan.ParseName(text); got != want || !ok {
			t.Errorf("ParseName(%q) = %+v, %t, want %+v", text, got, ok, want)
		}
		if got := plan.KindOf(text); got != want.Kind {
			t.Errorf("KindOf(%q) = %d, want %d", text, got, want.Kind)
		}
	}
}

// TestDestinationOfShards: every shard of a host says whose it is; what is no shard of a host says nothing.
func TestDestinationOfShards(t *testing.T) {
	for text, n := range names() {
		want := ""
		switch {
		case strings.Contains(text, "/slice/"):
			want = "users.myapp.svc.cluster.local"
		case strings.Contains(text, "/static/"), strings.Contains(text, "/workloads/"):
			want = "myapp/users.myapp.svc.cluster.local"
		}
		if got := n.Destination(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestParseNameOtherSpellings(t *testing.T) {
	for text, want := range map[string]string{
		"host/Users.MyApp.:8080":  "host/users.myapp:8080",
		"dns/Users.MyApp.":        "dns/users.myapp",
		"ip/::ffff:10.1.0.7":      "ip/10.1.0.7",
		"ip/fd00::7%eth0":         "ip/fd00::7",
		"ip/[fd00:0::7]:080":      "ip/[fd00:0::7]:80",
		"ip/east/::ffff:10.1.0.7": "ip/east/10.1.0.7",
	} {
		if got, ok := plan.ParseName(text); got.String() != want || !ok {
			t.Errorf("ParseName(%q) = %q, %t, want %q", text, got.String(), ok, want)
		}
	}
	for _, text := range []string{
		"", "/", "dst", "dst/", "dst/a", "dst/a/", "dst/a/b", "dst/a/b:0", "dst/a/b:65536", "dst/a/b:080", "dst/a/B:80", "dst//b:80", "dst/a/b:80?ns=",
		"dst/a/b/c:80", "dst/a/b:80?ns=c?ns=d", "pod/a:80", "pod/10.1.0.7", "pod/010.1.0.7:80", "pod/[::ffff:10.1.0.7]:80", "pod/[fd00:0::7]:80", "eps/[::ffff:10.1.0.7]:80/pod", "eps/a:80", "eps/a:80/slice", "eps/a:80/slice/", "eps/a:80/slice/x#1", "eps/a:80/slice/x#02",
		"eps/a:80/slice/a/b/c", "eps/a:80/pod", "eps/a:80/x", "eps/a:80/static", "ip/", "ip/a", "ip/a:80", "ip/10.1.0.7:0", "ip/a/b/10.1.0.7", "ip//10.1.0.7",
		"host/", "host/a", "host/a/b:80", "in/", "in/a", "in/a/", "in/a/b/c/d", "in//b", "dns/", "dns/.", "dns/a/b", "mesh/", "trust/x", "else", "else/x",
	} {
		if got, ok := plan.ParseName(text); ok {
			t.Errorf("ParseName(%q) = %+v, want none", text, got)
		}
	}
}

// FuzzParseName: what is a name has one canonical spelling, which is the same name.
func FuzzParseName(f *testing.F) {
	for text := range names() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := plan.ParseName(text)
		if !ok {
			return
		}
		canonical := n.String()
		again, ok := plan.ParseName(canonical)
		if again != n || !ok {
			t.Errorf("%q is %+v, its spelling %q is %+v, %t", text, n, canonical, again, ok)
		}
		if kind := plan.KindOf(canonical); kind != n.Kind {
			t.Errorf("KindOf(%q) = %d, want %d", canonical, kind, n.Kind)
		}
	})
}

// FuzzNameFromParts: no part of a name that users choose can make it another name.
func FuzzNameFromParts(f *testing.F) {
	f.Add("myapp", "users.myapp", "users-x1", "other", "east", uint16(80), 2)
	f.Fuzz(func(t *testing.T, namespace, host, slice, client, cluster string, port uint16, part int) {
		if part < 1 {
			return
		}
		for _, s := range []string{namespace, host, slice, client, cluster} {
			if strings.ContainsAny(s, "/?#") {
				return // no object is called so
			}
		}
		at := plan.HostPort{Host: model.CanonicalHost(host), Port: port}
		for _, n := range []plan.Name{
			{Kind: plan.NameDestination, Namespace: namespace, At: at, Client: client},
			{Kind: plan.NameShard, At: at, Source: plan.FromSlice, Cluster: cluster, Slice: slice, Part: part, Client: client},
			{Kind: plan.NameShard, At: at, Source: plan.FromStatic, Namespace: namespace, Part: part, Client: client},
			{Kind: plan.NameShard, At: at, Source: plan.FromWorkloads, Namespace: namespace, Part: part, Client: client},
			{Kind: plan.NameInbound, Cluster: cluster, Namespace: namespace, Pod: slice},
		} {
			if got, ok := plan.ParseName(n.String()); ok && got != n {
				t.Errorf("%+v becomes %+v", n, got)
			}
		}
	})
}
