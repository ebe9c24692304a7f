//go:build h2spec

package proxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// specCases is how many cases h2spec has.
const specCases = 145

// alsoHTTP1 is the case of h2spec that an entrance for apps does not pass, with the reason. It takes HTTP/1.1 as well: "an
// invalid preface indicates that the peer is not using HTTP/2" (RFC 9113 §3.4), and it is answered 400 in HTTP/1.1, or
// taken for a protocol of the app's own.
var alsoHTTP1 = []string{"Sends invalid connection preface"}

// specPath is a way into a sidecar that HTTP/2 takes.
type specPath struct {
	name    string
	excused []string
	// entrance makes the way and says where it begins. The app is that of users, the way in that of orders or of users.
	entrance func(m *mesh, orders, users *sidecar, protocol model.Protocol) string
}

var specPaths = []specPath{
	{"outbound/meshed", alsoHTTP1, func(m *mesh, orders, users *sidecar, protocol model.Protocol) string {
		m.meshed(users)
		orders.apply(service(protocol, users.endpoint(8080))...)
		return m.entrance(orders, usersAddr())
	}},
	{"outbound/unmeshed", alsoHTTP1, func(m *mesh, orders, users *sidecar, protocol model.Protocol) string {
		orders.apply(service(protocol, plainEndpoint(app(users)))...)
		return m.entrance(orders, usersAddr())
	}},
	{"inbound/unmeshed", alsoHTTP1, func(m *mesh, _, users *sidecar, _ model.Protocol) string { return m.plainly(users, app(users)) }},
	{"inbound/meshed", nil, func(m *mesh, orders, users *sidecar, _ model.Protocol) string {
		m.meshed(users)
		return m.asSidecar(orders, users)
	}},
}

// TestH2spec runs h2spec (https://github.com/summerwind/h2spec), whose path stands in H2SPEC, against every entrance of a
// sidecar that takes HTTP/2: outbound and inbound, with and without a sidecar at the other end, on ports that declare
// HTTP/2 and on those where it is detected.
func TestH2spec(t *testing.T) {
	for name, protocol := range map[string]model.Protocol{"declared": model.HTTP2, "detected": model.Undeclared} {
		for _, path := range specPaths {
			t.Run(path.name+"/"+name, func(t *testing.T) {
				m := newMesh(t)
				orders, users := m.sidecar("orders"), m.sidecar("users")
				users.apply(&plan.InboundPolicy{Name: "in/myapp/users", MTLS: model.MTLSPermissive, Ports: []plan.InboundPort{
					{Port: 8080, Protocol: protocol, MTLS: model.MTLSPermissive},
				}})
				m.h2cApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					fmt.Fprint(w, "a body that is longer than the smallest windows")
				}))
				h2spec(t, path.entrance(m, orders, users, protocol), path.excused)
			})
		}
	}
}

// h2spec runs every case against an entrance. Those that are excused may fail, no others, and none may be left out.
func h2spec(t *testing.T, entrance string, excused []string) {
	t.Helper()
	host, port, err := net.SplitHostPort(entrance)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), os.Getenv("H2SPEC"), "--host", host, "--port", port, "--timeout", "20").CombinedOutput()
	_, failures, _ := strings.Cut(string(out), "Failures:")
	for line := range strings.Lines(failures) {
		_, name, failed := strings.Cut(line, "× ")
		if _, name, _ = strings.Cut(name, ": "); failed && !slices.Contains(excused, strings.TrimSpace(name)) {
			t.Errorf("h2spec: %s", name)
		}
	}
	count := strings.TrimSpace(string(out))
	count = count[strings.LastIndex(count, "\n")+1:]
	var all, passed, skipped, failed int
	if _, scanned := fmt.Sscanf(count, "%d tests, %d passed, %d skipped, %d failed", &all, &passed, &skipped, &failed); scanned != nil {
		t.Fatalf("h2spec did not come to its end: %v\n%s", err, out)
	}
	if all != specCases || passed < specCases-len(excused) {
		t.Errorf("at least %d must pass of %d", specCases-len(excused), specCases)
	}
	t.Log(count)
}

// asSidecar gives an address on which a client speaks HTTP/2 with the mesh port of another sidecar as if it was the sidecar
// from: in mutual TLS, and with the field that says where each request goes. All else of what it says stays as it is.
func (m *mesh) asSidecar(from, to *sidecar) string {
	at := netip.AddrPortFrom(m.ip(), 8080)
	m.rawServer(at, func(client *net.TCPConn) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.ip.AsSlice()}}
		conn, err := d.DialContext(m.ctx, "tcp", netip.AddrPortFrom(to.ip, portMesh).String())
		if err != nil {
			return // the client sees the end
		}
		secured := tls.Client(conn, from.identity.ClientConfig(to.id.String()))
		ctx, cancel := context.WithTimeout(m.ctx, patience)
		defer cancel()
		if secured.HandshakeContext(ctx) != nil {
			conn.Close()
			return
		}
		var both sync.WaitGroup
		both.Go(func() {
			addressed(secured, client, app(to))
			secured.CloseWrite()
		})
		io.Copy(client, secured)
		client.CloseWrite()
		client.CloseRead()
		secured.Close()
		both.Wait()
	})
	return at.String()
}

// addressed copies what an HTTP/2 client sends, with a field at the end of each header block that says where the request
// goes. A literal that is not indexed (RFC 7541 §6.2.2) leaves the client's own compression as it is.
func addressed(w io.Writer, r io.Reader, to netip.AddrPort) {
	target := to.String() + "/h2"
	field := append([]byte{0, byte(len(call.TargetField))}, call.TargetField...)
	field = append(append(field, byte(len(target))), target...)
	if _, err := io.CopyN(w, r, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	for {
		var head [9]byte
		if n, err := io.ReadFull(r, head[:]); err != nil {
			w.Write(head[:n])
			return
		}
		length := int64(head[0])<<16 | int64(binary.BigEndian.Uint16(head[1:]))
		kind, flags := http2.FrameType(head[3]), http2.Flags(head[4])
		block := kind == http2.FrameHeaders && !flags.Has(http2.FlagHeadersPadded) || kind == http2.FrameContinuation
		extra := field
		if !block || !flags.Has(http2.FlagHeadersEndHeaders) {
			extra = nil
		}
		binary.BigEndian.PutUint32(head[:], uint32(length+int64(len(extra)))<<8|uint32(kind))
		if _, err := w.Write(head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(w, r, length); err != nil {
			return
		}
		if _, err := w.Write(extra); err != nil {
			return
		}
	}
}
