//go:build !race

package discovery

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

const (
	// budgetSubscriber is what a sidecar that calls ten destinations and is quiet may take of the control plane, in bytes of live heap
	// and stacks: measured 32,000 with a goroutine for each connection, see TestBudgetSubscriber for what it is now.
	budgetSubscriber = 25 << 10
	// subscribers are in another process, whose memory is its own.
	subscribers = 200
	// subscribeTo is the variable of the environment that makes this test binary that process: the address of the server. The
	// certificate of its authority comes on its standard input, which ends with the process that reads it.
	subscribeTo = "FAIRLEAD_TEST_SUBSCRIBE_TO"
)

// follows are the names that a subscriber asks for.
func follows() (names []string) {
	for i := range 10 {
		names = append(names, fmt.Sprintf("ip/10.96.0.%d:80", i+1))
	}
	return names
}

// TestBudgetSubscriber: measured 23,200 to 24,000 bytes.
func TestBudgetSubscriber(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	for i, name := range follows() {
		d := users("all")
		d.Name = fmt.Sprintf("dst/myapp/users-%d:8080", i)
		d.Backends = []plan.Backend{{Shards: []string{fmt.Sprintf("eps/users-%d:8080/s1", i)}}}
		source.set(t, name, d, shard(d.Backends[0].Shards[0], "10.244.0.1:8080", "10.244.0.2:8080"))
	}
	before := live()
	others := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSubscribersOfAnotherProcess$")
	others.Env = append(os.Environ(), subscribeTo+"="+w.addr)
	others.Stdout, others.Stderr = os.Stderr, os.Stderr
	in, err := others.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := others.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // what it could still say has been said: none of its memory counts
		others.Process.Kill()
		others.Wait()
	}()
	serverTLS, _ := testTLS()
	if err := pem.Encode(in, &pem.Block{Type: "CERTIFICATE", Bytes: serverTLS.Certificates[0].Certificate[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	inTheEnd(t, "all have everything", func() bool { return w.settled(len(follows())) == subscribers })
	per := int64(0)
	inTheEnd(t, fmt.Sprintf("a subscriber takes at most %d bytes", budgetSubscriber), func() bool {
		per = (live() - before) / subscribers
		return per <= budgetSubscriber
	})
	t.Logf("%d bytes for each of %d subscribers", per, subscribers)
}

// inTheEnd is eventually for what hundreds of clients have to do first.
func inTheEnd(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(6 * deadline); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waiting until %s", what)
		}
	}
}

// live is the memory of this process that is neither free nor garbage.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// settled counts the clients that hold the answers for so many names, and have acknowledged them.
func (w *world) settled(names int) (n int) {
	w.server.mu.RLock()
	defer w.server.mu.RUnlock()
	for st := range w.server.streams {
		st.mu.Lock()
		if len(st.subs) == names && len(st.held) == 2*names && !st.writing && st.acked == st.nonce {
			n++
		}
		st.mu.Unlock()
	}
	return n
}

// TestSubscribersOfAnotherProcess is what TestBudgetSubscriber starts.
func TestSubscribersOfAnotherProcess(t *testing.T) {
	addr := os.Getenv(subscribeTo)
	if addr == "" {
		t.Skip("it is a part of TestBudgetSubscriber")
	}
	in := bufio.NewReader(os.Stdin)
	certificate, err := in.ReadBytes('\x00')
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificate) {
		t.Fatal("no certificate")
	}
	w := &world{addr: addr, clientTLS: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "controller"}}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range subscribers {
		c := w.client(t, nobody{}, func(o *ClientOptions) {
			o.Node.ID = fmt.Sprintf("pod-%d.myapp", i)
			o.Token = func() (string, error) { return fmt.Sprintf("token-of-pod-%d", i), nil }
		})
		for _, n := range follows() {
			c.Subscribe(n)
		}
		all.Go(func() { c.Run(ctx, c.handler) })
	}
	io.Copy(io.Discard, in) // until it is killed
	cancel()
	all.Wait()
}

// nobody takes everything.
type nobody struct{}

func (nobody) Apply([]Update) []Rejection { return nil }
