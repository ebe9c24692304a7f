package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// What the sidecars tell each other can be neither forged nor seen by those they serve: not by an app that calls, not by
// one that answers, not by a client without a sidecar; not in heads, informational heads or trailers.
func TestMarksStayBetweenSidecars(t *testing.T) {
	marks := []string{"X-Fairlead-Target", "X-Fairlead-Error", "x-fairlead-of-a-later-version"}
	values := []string{"9999/h1", call.FailedConnect, "1"}
	forge := func(h http.Header) {
		for i, name := range marks {
			h.Set(name, values[i])
		}
	}
	forgeIdentity := func(h http.Header) {
		h.Set("X-Forwarded-Client-Cert", "URI=spiffe://cluster.local/ns/victim/sa/admin")
		h.Set("Authorization", "Bearer admin")
		h.Set("Cookie", "session=admin")
	}
	forged := func(h http.Header) (found []string) {
		for name, v := range h {
			isMark := strings.HasPrefix(strings.ToLower(name), markPrefix)
			if value := strings.Join(v, ","); isMark && value != "" || strings.Contains(value, "admin") { // an announced trailer without value is no forgery
				found = append(found, name)
			}
		}
		return found
	}
	for _, version := range []string{"h1", "h2"} {
		for _, way := range []string{"meshed", "from a plain client", "to a plain endpoint"} {
			t.Run(version+" "+way, func(t *testing.T) {
				m := newMesh(t)
				orders, users := m.sidecar("orders"), m.sidecar("users")
				var requests atomic.Int32
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					io.Copy(io.Discard, r.Body)
					if got := forged(r.Header); got != nil {
						t.Errorf("the app sees %q in the head", got)
					}
					if got := forged(r.Trailer); got != nil || r.Trailer.Get("Checksum") != "42" {
						t.Errorf("the app sees %q in the trailers, and Checksum %q", got, r.Trailer.Get("Checksum"))
					}
					forge(w.Header())
					w.Header().Set("Link", "early")
					w.WriteHeader(http.StatusEarlyHints)
					w.WriteHeader(http.StatusOK)
					io.WriteString(w, "hello")
					http.NewResponseController(w).Flush() // or the length is known, and HTTP/1.1 has no trailers then
					for i, name := range marks {
						w.Header().Set(http.TrailerPrefix+name, values[i])
					}
					w.Header().Set(http.TrailerPrefix+"Checksum", "43")
				})
				serve, client := m.plainApp, m.dialled
				if version == "h2" {
					serve, client = m.h2cApp, m.h2cClient
				}
				serve(app(users), handler)
				var addr string
				switch way {
				case "meshed":
					m.meshed(users)
					orders.apply(service(model.HTTP, users.endpoint(8080))...)
					addr = m.entrance(orders, usersAddr())
				case "from a plain client":
					addr = m.plainly(users, app(users))
				case "to a plain endpoint":
					orders.apply(service(model.HTTP, plainEndpoint(app(users)), plainEndpoint(app(users)))...)
					addr = m.entrance(orders, usersAddr())
				}

				req, err := http.NewRequest("POST", usersURL+"/", io.NopCloser(strings.NewReader("body")))
				if err != nil {
					t.Fatal(err)
				}
				forge(req.Header)
				req.Header.Set("Te", "trailers")
				req.Trailer = http.Header{"Checksum": {"42"}}
				forge(req.Trailer)
				if way != "to a plain endpoint" { // no called sidecar, and nothing to believe
					forgeIdentity(req.Trailer)
				}
				var early textproto.MIMEHeader
				req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { early = h; return nil },
				}))
				resp, err := client(addr).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 200 || string(body) != "hello" || requests.Load() != 1 {
					t.Errorf("= %d %q %v after %d requests", resp.StatusCode, body, err, requests.Load())
				}
				if got := forged(resp.Header); got != nil {
					t.Errorf("the client sees %q in the head", got)
				}
				if got := forged(http.Header(early)); got != nil || early.Get("Link") != "early" {
					t.Errorf("the client sees %q in the informational head %v", got, early)
				}
				if got := forged(resp.Trailer); got != nil || resp.Trailer.Get("Checksum") != "43" {
					t.Errorf("the client sees %q in the trailers %v", got, resp.Trailer)
				}
			})
		}
	}
}

// Inside the mesh the mark is believed, and goes no further.
func TestMarkOfThePeersSidecarEndsThere(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users) // no app
	orders.apply(with(service(model.HTTP, users.endpoint(8080)), func(d *plan.Destination) { d.Routes[0].Retry = model.Retry{} })...)
	resp, body := fetch(t, m.dialled(m.entrance(orders, usersAddr())), "GET", "/", "")
	if resp.StatusCode != 503 || !strings.Contains(body, "its app refuses connections") || resp.Header.Get(call.ErrorField) != "" {
		t.Errorf("= %d %q, %s %q", resp.StatusCode, body, call.ErrorField, resp.Header.Get(call.ErrorField))
	}
}
