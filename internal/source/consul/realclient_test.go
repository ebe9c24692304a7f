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
