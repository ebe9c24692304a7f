//go:build consul

package consul

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/consulsync"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/consul/consultest"
)

// seen is what HashiCorp's client has understood, as test/interop/consul prints it.
type seen struct {
	Own         string
	Datacenters []string
	Services    map[string][]string
	Instances   []seenInstance
	Index       uint64
	KnownLeader bool
	Status      int
}

type seenInstance struct {
	Node, NodeAddress, Datacenter, ID, Address, Status, Region, Kind string
	Port, Passing, Warning                                           int
	Tags                                                             []string
	Meta                                                             map[string]string
}

// TestRealClient has HashiCorp's own client read the fake that all other tests take for a Consul: shapes, blocking, refusal.
func TestRealClient(t *testing.T) {
	program := os.Getenv("CONSUL_CLIENT")
	if program == "" {
		t.Fatal("run this test by `make consul`")
	}
	fake := consultest.New("dc1", "dc2")
	server := httptest.NewServer(fake)
	defer server.Close()
	fake.Set("dc2", "users",
		consultest.Instance{
			ID: "a", Address: "10.0.0.1", Port: 8080, Status: "warning", Tags: []string{"v1", "a=b"}, Meta: map[string]string{"version": "v1"},
			Passing: 5, Warning: 2, Region: "r1", Zone: "z1",
		},
		consultest.Instance{ID: "b", Port: 8081, Status: "critical", Kind: "connect-proxy"})
	look := func(index string) seen {
		cmd := exec.CommandContext(t.Context(), program, server.URL, "secret", "users", "dc2", index)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var s seen
		if err := json.Unmarshal(out, &s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return s
	}
	want := seen{
		Own: "dc1", Datacenters: []string{"dc1", "dc2"}, Services: map[string][]string{"consul": {}, "users": {"a=b", "v1"}}, Index: 11, KnownLeader: true,
		Instances: []seenInstance{
			{
				Node: "node", NodeAddress: consultest.NodeAddress, Datacenter: "dc2", ID: "a", Address: "10.0.0.1", Status: "warning", Region: "r1", Port: 8080,
				Passing: 5, Warning: 2, Tags: []string{"v1", "a=b"}, Meta: map[string]string{"version": "v1"},
			},
			{Node: "node", NodeAddress: consultest.NodeAddress, Datacenter: "dc2", ID: "b", Status: "critical", Kind: "connect-proxy", Port: 8081, Passing: 1, Warning: 1},
		},
	}
	if diff := cmp.Diff(want, look("0")); diff != "" {
		t.Errorf("what the client has understood (-want +got):\n%s", diff)
	}

	fake.Asked()
	answer := make(chan seen)
	go func() { answer <- look("11") }()
	deadline := time.Now().Add(time.Minute)
	for held := false; !held; { // the client has asked, and is held
		if time.Now().After(deadline) {
			t.Fatal("the client asks no question that blocks")
		}
		held = slices.ContainsFunc(fake.Asked(), func(q string) bool { return strings.Contains(q, "index=11") && strings.Contains(q, "wait=60000ms") })
	}
	fake.Set("dc2", "users", consultest.Instance{ID: "c", Port: 80})
	if s := <-answer; s.Index != 12 || len(s.Instances) != 1 || s.Instances[0].ID != "c" {
		t.Errorf("a question that was held open is answered %+v, want index 12 and the new instance", s)
	}

	fake.Demand("another")
	if s := look("0"); s.Status != 403 {
		t.Errorf("a token that is refused: status %d, want 403", s.Status)
	}
}

// TestRealClientWrites has HashiCorp's own client read what a Registrar has registered, beside what it registers itself: the fake takes
// both, and a Registrar compares what the client has left there.
func TestRealClientWrites(t *testing.T) {
	program := os.Getenv("CONSUL_CLIENT")
	if program == "" {
		t.Fatal("run this test by `make consul`")
	}
	fake := consultest.New("dc1")
	server := httptest.NewServer(fake)
	defer server.Close()
	r, err := NewRegistrar(Options{Address: server.URL, Cluster: "east", Problems: func(list []model.Problem) {
		if len(list) > 0 {
			t.Error(list)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Set(consulsync.Wanted{Cluster: "east", Instances: wanted("users", 80, 81)})
	if refusals, err := r.pass(t.Context()); err != nil || len(refusals) > 0 {
		t.Fatal(refusals, err)
	}
	r.Set(consulsync.Wanted{Cluster: "east", Instances: wanted("users", 80)})
	if refusals, err := r.pass(t.Context()); err != nil || len(refusals) > 0 {
		t.Fatal(refusals, err)
	}
	cmd := exec.CommandContext(t.Context(), program, server.URL, "secret", "write", consulsync.Node)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got seen
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at := seenInstance{Node: consulsync.Node, NodeAddress: consulsync.NodeAddress, Datacenter: "dc1", Passing: 1, Warning: 1}
	theirs, users := at, at
	theirs.ID, theirs.Address, theirs.Port, theirs.Tags, theirs.Meta = "client-1", "10.0.0.7", 7001, []string{"x"}, map[string]string{"a": "b"}
	users.ID, users.Address, users.Port, users.Tags, users.Meta = "users-80", "10.0.0.1", 80, []string{"v1"}, ours()
	if diff := cmp.Diff(seen{Own: consulsync.SourceValue, Instances: []seenInstance{theirs, users}}, got); diff != "" {
		t.Errorf("what the client has found at the node (-want +got):\n%s", diff)
	}
	r.Set(consulsync.Wanted{Cluster: "east"})
	if refusals, err := r.pass(t.Context()); err != nil || len(refusals) > 0 {
		t.Fatal(refusals, err)
	}
	if left, kept := fake.Instances("dc1", "users"), fake.Instances("dc1", "client"); len(left) != 0 || len(kept) != 1 {
		t.Errorf("after all is wanted no longer the catalog has %v of ours and %v of the client's", left, kept)
	}
}
