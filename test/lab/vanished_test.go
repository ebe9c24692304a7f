package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const (
	holeIP      = "10.96.0.110"
	holePlainIP = "10.96.0.111"
	frozenIP    = "10.96.0.112"
)

// blackHoleCommand is how this program is started inside a pod, with "on", "ipv4", "ipv6" or "off", to have the pod's network
// drop what comes to it, of one address family or of both.
const blackHoleCommand = "black-hole"

// nodeAddress is where the kubelet and the control plane of a lab are.
var nodeAddress = netip.MustParseAddr("10.244.0.1")

// blackHole drops what other pods send to the network namespace. Nothing is refused, and the kubelet gets through, so that
// the pod stays ready.
func blackHole(state string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: blackHoleCommand}
	if state == "off" {
		c.DelTable(table)
		return c.Flush()
	}
	const loopback = 1 // always, in a namespace of its own
	const source = 12  // of an IPv4 header (RFC 791 §3.1)
	first := nftables.ChainPriority(-400)
	chain := &nftables.Chain{Name: "all", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &first}
	c.AddTable(table)
	c.AddChain(chain)
	lost := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(loopback)},
	}
	if family, one := map[string]byte{"ipv4": unix.NFPROTO_IPV4, "ipv6": unix.NFPROTO_IPV6}[state]; one {
		lost = append(lost, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(lost,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: source, Len: 4},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: nodeAddress.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	)})
	return c.Flush()
}

func (m *mesh) blackHole(t *testing.T, pod, state string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := m.exec(t, pod, self, blackHoleCommand, state); code != 0 {
		t.Fatalf("black hole %s: %s", state, errOut)
	}
}

// twins are two pods of the demo app, not probed: the app stays ready, whatever becomes of it.
func twins(name string, bare bool) string {
	return app{name: name, replicas: 2, notProbed: true, bare: bare}.String()
}

// bothAnswer calls until both twins have answered, and no call fails. They are ready before they listen, and one that refused a connection is
// left alone for a moment.
func (m *mesh) bothAnswer(t *testing.T, from, url string) {
	t.Helper()
	eventually(t, "both pods to answer "+url, func() bool {
		r := m.call(t, from, url, "--count", "40")
		return r.OK == 40 && len(r.Pods) == 2
	})
}

// TestBlackHole: packets to one of two pods are lost, and nothing says so.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+
		twins("hole", false)+service("hole", holeIP, "app: hole", http80)+
		twins("hole-plain", true)+service("hole-plain", holePlainIP, "app: hole-plain", http80))
	for _, server := range []string{"hole", "hole-plain"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			load := []string{"http://" + server + "/", "--rate", "20", "--concurrency", "100", "--timeout", "30s"}
			m.bothAnswer(t, client, load[0])
			victim := m.find(t, "deploy/"+server+"-v1").Name
			m.blackHole(t, victim, "on")
			first := m.call(t, client, append(load, "--for", "10s")...)
			then := m.call(t, client, append(load, "--for", (2*loadTime()).String())...)
			t.Logf("first 10 s: %s; then: %s", brief(&first), brief(&then))
			if first.Failed > 0 || then.Failed > 0 || then.P99 > 1500 || then.Requests < 100 {
				t.Errorf("first 10 s: %+v; then: %+v", first, then)
			}
			m.blackHole(t, victim, "off")
			eventually(t, "the pod to be called again", func() bool { return m.call(t, client, load[0], "--count", "20").Pods[victim] > 0 })
		})
	}
}

// TestFrozenPod: an app and its sidecar are stopped together, and their kernel goes on to accept connections.
func TestFrozenPod(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "newcomer", replicas: 1}.String()+
		twins("frozen", false)+service("frozen", frozenIP, "app: frozen", http80))
	const url = "http://frozen/"
	m.bothAnswer(t, client, url)
	victim := m.find(t, "deploy/frozen-v1").Name
	m.signal(t, victim, "STOP")
	waits := map[string]func() demoapp.Report{}
	for name, caller := range map[string]string{"has a connection": client, "has none": "deploy/newcomer-v1"} {
		waits[name] = m.begin(t, caller, url, "--count", "20", "--timeout", "30s")
	}
	for name, wait := range waits {
		if r := wait(); r.Failed > 0 || r.Max > 5000 || r.Pods[victim] > 0 {
			t.Errorf("a caller that %s, at first: %+v", name, r)
		} else {
			t.Logf("a caller that %s, at first: %s", name, brief(&r))
		}
	}
	if r := m.call(t, client, url, "--rate", "20", "--concurrency", "100", "--for", loadTime().String(), "--timeout", "30s"); r.Failed > 0 || r.P99 > 1500 || r.Pods[victim] > 0 {
		t.Errorf("then: %+v", r)
	} else {
		t.Logf("then: %s", brief(&r))
	}
	eventually(t, "the sidecar that waited for a connection to count that the peer was silent", func() bool {
		const metric = "fairlead_peers_silent_total "
		metrics := m.cli(t, "proxy-config", "metrics", m.find(t, "deploy/newcomer-v1").Name, "-n", "shop")
		return strings.Contains(metrics, "\n"+metric) && !strings.Contains(metrics, metric+"0\n")
	})
	m.signal(t, victim, "CONT")
	eventually(t, "the pod to be called again", func() bool { return m.call(t, client, url, "--count", "20").Pods[victim] > 0 })
}

// signal sends a signal to every container of a pod.
func (m *mesh) signal(t *testing.T, name, signal string) {
	t.Helper()
	kill := []string{"kill", "-" + signal}
	for _, c := range m.find(t, name).Containers {
		kill = append(kill, strconv.Itoa(c.PID))
	}
	// Out of another pod: this one may be stopped.
	if code, _, errOut := m.exec(t, client, "sh", "-c", strings.Join(kill, " ")); code != 0 {
		t.Fatalf("%q: %s", kill, errOut)
	}
}

func brief(r *demoapp.Report) string {
	return fmt.Sprintf("%d requests, %d failed, p50 %.1f ms, p99 %.0f ms, slowest %.0f ms", r.Requests, r.Failed, r.P50, r.P99, r.Max)
}
