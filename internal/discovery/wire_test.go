package discovery

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestMessagesMatchProtobuf(t *testing.T) {
	request := &Request{
		Node: &Node{ID: "a.b", Version: "1", Patches: true, Companion: true}, Subscribe: []string{"x", "y"}, Unsubscribe: []string{"z"},
		InitialVersions: map[string]string{"b": "2", "a": "1"}, InitialNames: map[string]string{"x": "dst/x", "y": ""},
		Ack: 7, Nacks: []Nack{{Nonce: 8, Errors: []Rejection{{"dst/x", "bad"}, {"dst/y", "worse"}}}}, More: true, Partial: []Rejection{{"dst/z", "field 14"}},
		Health: &HealthReport{Results: []model.CheckResult{{Policy: "a", Failing: true, Why: "HTTP status 500", Since: time.Unix(1_800_000_000, 0).UTC()}}},
	}
	probe := probeOf("shop/ledger", "192.0.2.1:443")
	probe.Failing, probe.Why, probe.Since, probe.Age = true, "refused", request.Health.Results[0].Since, time.Second
	request.Health.Probes, request.Health.Prober = []model.ProbeResult{probe}, true
	c := readContract(t)
	theirs := c.read(t, "DeltaRequest", request.append(nil))
	if path := unknownField(theirs) + unsetField(theirs); path != "" {
		t.Errorf("%s is unknown to the contract, or not sent though it is set", path)
	}
	back, err := parseRequest(deterministic(t, theirs))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(request, back, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("protobuf's request read by hand (-want +got):\n%s", diff)
	}

	body, err := Encode(global("test"))
	if err != nil {
		t.Fatal(err)
	}
	base := shard("eps/s", "10.0.0.1:80", "10.0.0.2:80")
	patch, err := patchOf(base.Endpoints, shard("eps/s", "10.0.0.1:80", "10.0.0.3:80").Endpoints).encode(base.Endpoints)
	if err != nil {
		t.Fatal(err)
	}
	response := &Response{
		Nonce: 3, Removed: []string{"dst/z"}, Synced: true,
		Resources: []Answer{{Name: "mesh", Aliases: []string{"a", "b"}, Version: "v", Body: body}, {Name: "x", Version: "w"}, {Name: "y"}, {Name: "z", Refused: "too many"}, {Name: "eps/s", Version: "v", Base: "u", Patch: patch}},
	}
	theirs = c.read(t, "DeltaResponse", response.append(nil))
	if path := unknownField(theirs); path != "" {
		t.Errorf("%s is unknown to the contract", path)
	}
	got := fmt.Sprint(at(theirs, "resources").List().Len(), at(theirs, "resources", 3, "refused"), at(theirs, "resources", 0, "body", "mesh", "named_ports", 0), at(theirs, "resources", 1, "version"),
		at(theirs, "resources", 4, "base"), at(theirs, "resources", 4, "patch", "gone", 0), at(theirs, "resources", 4, "patch", "endpoints", 0, "port"))
	if want := "5 too many 116 w u 1 80"; got != want {
		t.Errorf("response read by protobuf = %s, want %s", got, want)
	}
	backResponse, err := parseResponse(deterministic(t, theirs))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(response, backResponse); diff != "" {
		t.Errorf("protobuf's response read by hand (-want +got):\n%s", diff)
	}
}

// transport is that of a foreign gRPC client: nothing of this package.
func (w *world) transport() *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{TLSClientConfig: w.clientTLS.Clone(), Protocols: protocols}
}

// request is what such a client asks.
func (w *world) request(t *testing.T, path, token string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+w.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

// grpcCall makes a call the way a foreign gRPC client does.
func grpcCall(t *testing.T, w *world, path, token string, body io.Reader) *http.Response {
	t.Helper()
	tr := w.transport()
	t.Cleanup(tr.CloseIdleConnections)
	resp, err := tr.RoundTrip(w.request(t, path, token, body))
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// grpcStatus makes a call that is to be refused, and gives the status twice: as it stands in the trailer, and as read here.
func grpcStatus(t *testing.T, w *world, path, token string, body []byte) (code string, err error) {
	t.Helper()
	resp := grpcCall(t, w, path, token, bytes.NewReader(body))
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.Trailer.Get("Grpc-Status"), receivedStatus(resp)
}

func prefixed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// TestStreamWithForeignClient: a client that knows the .proto files and nothing else has what it asks for.
func TestStreamWithForeignClient(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	w := start(t, source)
	c := readContract(t)
	requests, writer := io.Pipe()
	hello := c.message(t, "DeltaRequest")
	if err := protojson.Unmarshal([]byte(`{"node": {"id": "grpcurl"}, "subscribe": ["`+alias+`", "host/nobody:80"]}`), hello); err != nil {
		t.Fatal(err)
	}
	go writer.Write(prefixed(deterministic(t, hello)))
	resp := grpcCall(t, w, "/fairlead.v1.Discovery/Stream", "token-of-x", requests)
	defer resp.Body.Close()
	receive := func() *dynamicpb.Message {
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(resp.Body, b); err != nil {
			t.Fatal(err)
		}
		return c.read(t, "DeltaResponse", b)
	}
	var names []string
	for r := receive(); ; r = receive() {
		for i := range at(r, "resources").List().Len() {
			name := at(r, "resources", i, "name").String()
			names = append(names, name)
			if strings.HasPrefix(name, "dst/") && at(r, "resources", i, "body", "destination", "routes", 0, "name").String() != "a" {
				t.Errorf("response = %v", r)
			}
		}
		if at(r, "synced").Bool() {
			break
		}
	}
	if diff := cmp.Diff([]string{"host/nobody:80", "eps/users:8080/s1", "dst/myapp/users:8080"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if err := writer.Close(); err != nil { // half-close ends the call
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
		t.Errorf("grpc-status = %q (%s), want 0", got, resp.Trailer.Get("Grpc-Message"))
	}
}

func TestServerRefuses(t *testing.T) {
	source := newFakeSource()
	w := start(t, source)
	node := prefixed((&Request{Node: &Node{ID: "x"}}).append(nil))
	tests := []struct {
		name, path, token string
		body              []byte
		code, message     string
	}{
		{"no_token", pathStream, "", node, "16", "no bearer token"},
		{"wrong_token", pathStream, "forged", node, "16", "signed by another authority"},
		{"unknown_method", "/fairlead.v1.Discovery/Nope", "token-of-x", node, "12", "no method /fairlead.v1.Discovery/Nope"},
		{"sign_without_ca", pathSign, "token-of-x", prefixed(nil), "12", "issues no certificates"},
		{"no_node", pathStream, "token-of-x", prefixed(nil), "3", "must carry node"},
		{"malformed", pathStream, "token-of-x", prefixed([]byte{0xff}), "3", "malformed message"},
		{"compressed", pathStream, "token-of-x", []byte{1, 0, 0, 0, 0}, "13", "names no grpc-encoding"},
		{"too_large", pathStream, "token-of-x", []byte{0, 0xff, 0xff, 0xff, 0xff}, "8", "exceeds 1048576"},
		{"empty_name", pathStream, "token-of-x", prefixed((&Request{Node: &Node{}, Subscribe: []string{""}}).append(nil)), "3", "a name must have"},
		{"long_name", pathStream, "token-of-x", prefixed((&Request{Node: &Node{}, Subscribe: []string{strings.Repeat("x", maxName+1)}}).append(nil)), "3", "a name must have"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, err := grpcStatus(t, w, tt.path, tt.token, tt.body)
			if code != tt.code || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("status %s, %v; want %s with %q", code, err, tt.code, tt.message)
			}
		})
	}
	source.mu.Lock()
	source.fail = errors.New("the engine has stopped")
	source.mu.Unlock()
	_, err := grpcStatus(t, w, pathStream, "token-of-x", prefixed((&Request{Node: &Node{}, Subscribe: []string{"mesh"}}).append(nil)))
	if err == nil || err.Error() != "UNAVAILABLE: resolving 1 names: the engine has stopped" {
		t.Errorf("source that fails: %v", err)
	}
	eventually(t, "no stream is left", func() bool { return len(w.server.Status()) == 0 && source.watches() == 0 })
}

// TestClientThatNeverReads must not hold up the others, nor stay. Time is simulated: it passes when nobody reads any more, however slow
// the machine.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, l := newFakeSource(), newPipeListener()
		source.set(t, "trust", &plan.TrustBundle{Roots: []string{strings.Repeat("x", 2<<20)}})
		var log lockedBuffer
		w := serve(t, l, source, func(o *ServerOptions) {
			o.WriteTimeout = 200 * time.Millisecond
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		defer w.stop()
		hello := prefixed((&Request{Node: &Node{ID: "deaf"}, Subscribe: []string{"trust"}}).append(nil))
		requests, writer := io.Pipe()
		defer writer.Close()
		go writer.Write(hello)
		transport := w.transport()
		transport.DialContext = l.Dial
		defer transport.CloseIdleConnections()
		deaf, err := transport.RoundTrip(w.request(t, pathStream, "token-of-deaf", requests))
		if err != nil {
			t.Fatal(err)
		}
		defer deaf.Body.Close()

		c := w.client(t, newRecorder(), func(o *ClientOptions) { o.Dial = l.Dial })
		stop := run(t, c)
		defer stop()
		await(t, c, "trust")
		version := c.Versions()["trust"]
		for i := range 10 { // 20 MB, several times the flow control window
			source.set(t, "trust", &plan.TrustBundle{Roots: []string{strings.Repeat(string(rune('a'+i)), 2<<20)}})
			eventually(t, "the other client has it", func() bool {
				next := c.Versions()["trust"]
				if next == version {
					return false
				}
				version = next
				return true
			})
		}
		eventually(t, "the deaf one is gone", func() bool { return len(w.server.Status()) == 1 })
		if !strings.Contains(log.String(), "proxy=deaf.myapp") || !strings.Contains(log.String(), "does not accept its configuration") {
			t.Errorf("log = %s", log.String())
		}
	})
}

func TestReadFrame(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, message := range [][]byte{nil, []byte("x"), long} {
		got, err := readFrame(bytes.NewReader(prefixed(message)), maxRequest)
		if err != nil || !bytes.Equal(got, message) {
			t.Errorf("readFrame of %d bytes = %d bytes, %v", len(message), len(got), err)
		}
	}
	for _, cut := range []int{1, 4, 5, 20} {
		if _, err := readFrame(bytes.NewReader(prefixed(long)[:cut]), maxRequest); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("readFrame cut after %d bytes = %v, want ErrUnexpectedEOF", cut, err)
		}
	}
	if _, err := readFrame(strings.NewReader(""), maxRequest); !errors.Is(err, io.EOF) {
		t.Errorf("readFrame at the end = %v, want EOF", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add((&Request{
		Node: &Node{ID: "a.b", Version: "1"}, Subscribe: []string{"x", "y"}, Unsubscribe: []string{"z"},
		InitialVersions: map[string]string{"b": "2"}, InitialNames: map[string]string{"y": ""},
		Ack: 7, Nacks: []Nack{{Nonce: 8, Errors: []Rejection{{"dst/x", "bad"}}}}, More: true, Partial: []Rejection{{"dst/z", "field 14"}},
	}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		again, err := parseRequest(r.append(nil))
		if err != nil {
			t.Fatalf("own bytes are refused: %v", err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("second round trip (-first +second):\n%s", diff)
		}
	})
}

func TestNewRefusesIncompleteOptions(t *testing.T) {
	if _, err := NewServer(ServerOptions{}); err == nil {
		t.Error("NewServer without a source succeeded")
	}
	if _, err := NewClient(ClientOptions{}); err == nil {
		t.Error("NewClient without an address succeeded")
	}
	if _, err := NewClient(ClientOptions{Addrs: []string{"a:1"}, TLSConfig: func() (*tls.Config, error) { return nil, context.Canceled }}); err == nil {
		t.Error("NewClient without a token succeeded")
	}
}
