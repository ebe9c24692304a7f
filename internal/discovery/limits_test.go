package discovery

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/internal/plan"
)

// rawClient is a client that obeys no limit.
type rawClient struct {
	t        *testing.T
	requests *io.PipeWriter
	body     io.ReadCloser
	end      func() error // how the server ended the stream
}

// raw opens a stream with a pod's token.
func (w *world) raw(t *testing.T, pod string) *rawClient {
	t.Helper()
	requests, writer := io.Pipe()
	resp := grpcCall(t, w, pathStream, "token-of-"+pod, requests)
	c := &rawClient{t: t, requests: writer, body: resp.Body, end: func() error { return receivedStatus(resp) }}
	t.Cleanup(func() { writer.Close(); resp.Body.Close() })
	return c
}

// send writes a request; the server may have ended the stream.
func (c *rawClient) send(r *Request) error {
	c.t.Helper()
	b, err := frame(r)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.requests.Write(b)
	return err
}

// receive gives the answers until the server has said everything for now.
func (c *rawClient) receive() (answers []Answer, err error) {
	for {
		b, err := readFrame(c.body, maxMessage)
		if err != nil {
			return answers, err
		}
		r, err := parseResponse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		answers = append(answers, r.Resources...)
		if r.Synced {
			return answers, nil
		}
	}
}

// ask subscribes to names and counts the answers and those that were refused, until each has one.
func (c *rawClient) ask(names ...string) (answered, refused int) {
	c.t.Helper()
	if err := c.send(&Request{Node: &Node{ID: "raw"}, Subscribe: names}); err != nil {
		c.t.Fatal(err)
	}
	for answered+refused < len(names) {
		answers, err := c.receive()
		if err != nil {
			c.t.Fatalf("after %d answers and %d refusals: %v, %v", answered, refused, err, c.end())
		}
		for i := range answers {
			if answers[i].Refused != "" {
				refused++
			} else {
				answered++
			}
		}
	}
	return answered, refused
}

func outside(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("ip/198.18.%s.%d:%d", prefix, i>>8, i&255+1)
	}
	return names
}

// TestNamesBeyondTheLimitAreRefusedOneByOne has a pod ask for more names than it may, on both sides of a reconnection:
// what is too much is refused name by name, and everything else goes on.
func TestNamesBeyondTheLimitAreRefusedOneByOne(t *testing.T) {
	source := newFakeSource()
	source.set(t, "mesh", global("a"))
	w := start(t, source)
	c := w.raw(t, "crawler")
	if _, refused := c.ask("mesh"); refused != 0 {
		t.Fatal("the first name is refused")
	}
	if answered, refused := c.ask(outside("1", MaxNames+9)...); answered != MaxNames-1 || refused != 10 {
		t.Errorf("%d names answered and %d refused, want %d and 10", answered, refused, MaxNames-1)
	}
	source.set(t, "mesh", global("b"))
	if answers, err := c.receive(); err != nil || len(answers) != 1 || answers[0].Name != "mesh" {
		t.Errorf("after a change: %v, %v, want the mesh", answers, err)
	}
	// A name that is given up makes room for another one.
	if err := c.send(&Request{Unsubscribe: outside("1", 5)}); err != nil {
		t.Fatal(err)
	}
	if answered, refused := c.ask(outside("2", 10)...); answered != 5 || refused != 5 {
		t.Errorf("%d names answered and %d refused, want 5 and 5", answered, refused)
	}
	// Another pod is not concerned.
	if answered, refused := w.raw(t, "other").ask(outside("3", 100)...); answered != 100 || refused != 0 {
		t.Errorf("another pod: %d names answered and %d refused", answered, refused)
	}
	// The sidecar is restarted, and the server has not noticed yet: the new one gets its names.
	if answered, refused := w.raw(t, "crawler").ask(outside("1", 1000)...); answered != 1000 || refused != 0 {
		t.Errorf("after a restart: %d names answered and %d refused", answered, refused)
	}
	if _, err := c.receive(); err == nil || !strings.Contains(fmt.Sprint(c.end()), "newer streams") {
		t.Errorf("the old stream ended with %v, %v", err, c.end())
	}
}

// TestClientHearsOfARefusedName: who waits for a name that the server does not follow is told so, and asks again later.
func TestClientHearsOfARefusedName(t *testing.T) {
	source := newFakeSource()
	source.set(t, "mesh", global("a"))
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, "mesh")
	w.server.accounts.mu.Lock()
	for _, a := range w.server.accounts.pods {
		a.mu.Lock()
		a.names += MaxNames // as if another stream of the pod had them
		a.mu.Unlock()
	}
	w.server.accounts.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for range 2 {
		if err := c.Await(ctx, "ip/198.18.0.1:443"); err == nil || !strings.Contains(err.Error(), "refused by the control plane: the pod has 8192 names") {
			t.Errorf("Await = %v, want a refusal", err)
		}
	}
	source.set(t, "mesh", global("b"))
	h.until(t, "the change arrives all the same", func(state map[string]plan.Resource, _ []string) bool {
		m, ok := state["mesh"].(*plan.MeshGlobal)
		return ok && slices.Equal(m.NamedPorts, global("b").NamedPorts)
	})
}

func TestNewestStreamsOfAPodWin(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	var all []*rawClient
	for range maxStreams + 1 {
		c := w.raw(t, "greedy")
		c.ask("mesh")
		all = append(all, c)
	}
	if _, err := all[0].receive(); err == nil {
		t.Error("the oldest stream goes on")
	}
	if got := fmt.Sprint(all[0].end()); !strings.Contains(got, "RESOURCE_EXHAUSTED: the pod has opened newer streams") {
		t.Errorf("the oldest stream ended with %s", got)
	}
	for _, c := range all[1:] {
		if answered, _ := c.ask("trust"); answered != 1 {
			t.Error("a newer stream is not served")
		}
	}
	eventually(t, "the streams that are left are counted", func() bool { return len(w.server.Status()) == maxStreams })
}

// TestRefusalsFillNoLog has a client refuse the same resource again and again, as fast as it can.
func TestRefusalsFillNoLog(t *testing.T) {
	source := newFakeSource()
	source.set(t, "mesh", global("a"))
	source.set(t, "trust", &plan.TrustBundle{TrustDomain: "a"})
	var log logBuffer
	w := start(t, source, log.hook)
	c := w.raw(t, "moody")
	c.ask("mesh", "trust")
	nack := Nack{Nonce: 1}
	for range 200 {
		nack.Errors = append(nack.Errors, Rejection{"mesh", strings.Repeat("reason ", 100)}, Rejection{"trust", "no"}, Rejection{"made/up", "no"})
	}
	for range 20 {
		if err := c.send(&Request{Nacks: []Nack{nack}}); err != nil {
			t.Fatal(err)
		}
	}
	c.ask("end") // everything before is worked off
	if got := log.lines("proxy refused a resource"); len(got) != 2 {
		t.Errorf("%d lines, want one for each resource", len(got))
	}
	source.set(t, "mesh", global("b"))
	if _, err := c.receive(); err != nil {
		t.Fatal(err)
	}
	if err := c.send(&Request{Nacks: []Nack{{Nonce: 4, Errors: []Rejection{{"mesh", "again"}}}}}); err != nil {
		t.Fatal(err)
	}
	c.ask("end of all")
	if got := log.lines("proxy refused a resource"); len(got) != 3 {
		t.Errorf("%d lines after another version is refused, want 3", len(got))
	}
}

// TestOneTokenMakesFewCalls: a token is judged only so often.
func TestOneTokenMakesFewCalls(t *testing.T) {
	judged := 0
	w := start(t, newFakeSource(), func(o *ServerOptions) {
		o.Authenticate = func(context.Context, string) (ClientIdentity, error) {
			judged++
			return ClientIdentity{Namespace: "myapp", Pod: "a"}, nil
		}
	})
	refused, began := 0, time.Now()
	for range 3 * callBurst {
		if _, err := grpcStatus(t, w, pathSign, "token-of-a", prefixed(nil)); strings.Contains(err.Error(), "RESOURCE_EXHAUSTED: more than 20 calls") {
			refused++
		}
	}
	due := callBurst + callRate*int(time.Since(began)/time.Second+1)
	if judged > due || judged+refused != 3*callBurst {
		t.Errorf("of %d calls %d were judged, with %d due, and %d refused", 3*callBurst, judged, due, refused)
	}
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket{rate: 10, burst: 100}
		if !b.take(100, time.Now()) || b.take(1, time.Now()) {
			t.Error("a full bucket gives its burst and no more")
		}
		time.Sleep(time.Second)
		if !b.take(10, time.Now()) || b.take(1, time.Now()) {
			t.Error("after a second it gives what came in since")
		}
		if got := b.charge(50, time.Now()); got != 5*time.Second {
			t.Errorf("charge(50) of an empty bucket = %s, want 5 s", got)
		}
		if got := b.charge(1e9, time.Now()); got != 10*time.Second {
			t.Errorf("charge(1e9) = %s, want what fills a bucket once", got)
		}
		time.Sleep(20 * time.Second)
		if !b.full(time.Now()) {
			t.Error("it is not full again")
		}
	})
}

// joined puts the parts of a request together.
func joined(parts []*Request) *Request {
	whole := &Request{InitialVersions: map[string]string{}, InitialNames: map[string]string{}}
	for _, p := range parts {
		if p.Node != nil {
			whole.Node = p.Node
		}
		whole.Ack = max(whole.Ack, p.Ack)
		whole.Subscribe = append(whole.Subscribe, p.Subscribe...)
		whole.Unsubscribe = append(whole.Unsubscribe, p.Unsubscribe...)
		maps.Copy(whole.InitialVersions, p.InitialVersions)
		maps.Copy(whole.InitialNames, p.InitialNames)
		for _, n := range p.Nacks {
			for _, e := range n.Errors {
				whole.refuse(n.Nonce, e)
			}
		}
	}
	return whole
}

func TestRequestsAreSplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		r := &Request{Ack: 7, InitialVersions: map[string]string{}, InitialNames: map[string]string{}}
		if rng.IntN(2) == 0 {
			r.Node = &Node{ID: "a.b", Version: "1"}
		}
		text := func() string {
			return strings.Repeat("n", 1+rng.IntN(40)) + strconv.FormatUint(uint64(rng.Uint32()), 10)
		}
		for range rng.IntN(30) {
			r.InitialVersions[text()] = text()
		}
		for range rng.IntN(30) {
			n := text()
			r.Subscribe = append(r.Subscribe, n)
			if rng.IntN(2) == 0 {
				r.InitialNames[n] = text()
			}
		}
		for range rng.IntN(5) {
			r.Unsubscribe = append(r.Unsubscribe, text())
			r.refuse(uint64(rng.IntN(3)), Rejection{text(), text()})
		}
		size := 100 + rng.IntN(1000)
		parts := r.split(size)
		for i, p := range parts {
			if n := len(p.append(nil)); n > size+150 {
				t.Fatalf("part %d of %d has %d bytes, want about %d", i, len(parts), n, size)
			}
			if want := r.Node != nil && i < len(parts)-1; p.More != want || (p.Node != nil) != (r.Node != nil && i == 0) {
				t.Fatalf("part %d of %d: More = %v, Node = %v", i, len(parts), p.More, p.Node)
			}
		}
		if diff := cmp.Diff(r, joined(parts), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("joined (-want +got):\n%s", diff)
		}
	}
}

// TestResumeOfManyNames comes back with more than fits into one message: nothing is sent twice, and nothing is taken away.
func TestResumeOfManyNames(t *testing.T) {
	const n = 4000
	source := newFakeSource()
	names := make([]string, n)
	for i := range names {
		d := users("a")
		d.Name = fmt.Sprintf("dst/myapp/%s%d:80", strings.Repeat("long.", 40), i)
		names[i] = "host/" + strings.TrimPrefix(d.Name, "dst/myapp/")
		source.set(t, names[i], d, shard("eps/users:8080/s1", "10.0.0.1:8080"))
	}
	var wire traffic
	w := start(t, source, wire.hook)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	for _, name := range names {
		c.Use(name)
	}
	await(t, c, names...)
	had := c.Versions()
	source.mu.Lock()
	source.servers = nil
	source.mu.Unlock()
	w.stop()
	wire.take()
	h.take()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := serve(t, l, source, wire.hook)
	eventually(t, "it is back", func() bool {
		status := again.server.Status()
		return len(status) == 1 && status[0].Synced
	})
	requests := 0
	for _, line := range wire.take() {
		switch {
		case strings.HasPrefix(line, ">"):
			requests++
		case line != "< synced":
			t.Errorf("the server says %.100s", line)
		}
	}
	if requests < 3 { // of which the last is an acknowledgement
		t.Errorf("%d requests: the test is too small", requests)
	}
	if diff := cmp.Diff(had, c.Versions()); diff != "" || len(h.take()) != 0 {
		t.Errorf("after coming back, versions (-want +got):\n%s", diff)
	}
}

// TestNothingIsRemovedBeforeAllIsAnswered: a client that comes back with many names is answered slice by slice, and what
// it has for a name of a later slice stays.
func TestNothingIsRemovedBeforeAllIsAnswered(t *testing.T) {
	const n = 3 * slice
	source := newFakeSource()
	r := &Request{Node: &Node{}, InitialVersions: map[string]string{"dst/myapp/gone:80": "1"}, InitialNames: map[string]string{}}
	for i := range n {
		d := users("a")
		d.Name = fmt.Sprintf("dst/myapp/s%d:80", i)
		source.set(t, "host/"+d.Name, d)
		r.Subscribe = append(r.Subscribe, "host/"+d.Name)
		r.InitialNames["host/"+d.Name] = d.Name
		r.InitialVersions[d.Name] = encoded(t, d).Version
	}
	st := newStream(start(t, source).server, ClientIdentity{Namespace: "myapp", Pod: "a"}, httptest.NewRecorder(), func(error) {})
	if err := st.s.add(st); err != nil {
		t.Fatal(err)
	}
	defer st.s.remove(st)
	st.writing = true // by this test
	st.resume(r)
	if err := st.subscribe(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	st.start()
	var removed []string
	rounds := 0
	for more := true; more; rounds++ {
		var d round
		more = d.look(st)
		for _, r := range d.responses {
			removed = append(removed, r.Removed...)
			if len(r.Resources) > 0 {
				t.Errorf("%d resources are sent again", len(r.Resources))
			}
		}
	}
	if diff := cmp.Diff([]string{"dst/myapp/gone:80"}, removed); diff != "" || rounds != 3 {
		t.Errorf("removed in %d rounds (-want +got):\n%s", rounds, diff)
	}
}
