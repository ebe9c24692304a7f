package proxy

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// likeness runs a test of how an exchange looks at its ends, over every way that one can take: two sidecars, only the
// caller's, only the called one. say is what the app answers to a head, addr where the client calls.
func likeness(t *testing.T, say func(head string) string, test func(t runner, addr, way string, called *sidecar)) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			var head []byte
			buf := make([]byte, 4096)
			for !bytes.Contains(head, []byte("\r\n\r\n")) {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				head = append(head, buf[:n]...)
			}
			fmt.Fprint(c, say(string(head)))
		})
		for _, protocol := range []model.Protocol{model.HTTP, model.Undeclared} {
			orders.apply(service(protocol, e)...)
			test(t, m.entrance(orders, usersAddr()), fmt.Sprint("meshed caller, ", protocol), users)
		}
		test(t, m.plainly(users, app(users)), "plain caller", users)
	})
}

// mirrored answers with the head that came.
func mirrored(head string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-MixedCase: Yes\r\nSOAPAction: b\r\nlower: c\r\nX-Fairlead-Spelling: LOWER\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
}

func TestRequestArrivesAsItWasWritten(t *testing.T) {
	likeness(t, mirrored, func(t runner, addr, way string, _ *sidecar) {
		for _, tt := range []struct{ name, in, want string }{
			{"origin_form", "GET /p?q=1 HTTP/1.1\r\nHost: www.example.com\r\n", "GET /p?q=1 HTTP/1.1\r\nHost: www.example.com\r\n"},
			{"absolute_form", "GET http://www.example.com/p?q=1 HTTP/1.1\r\nHost: www.example.com\r\n", "GET http://www.example.com/p?q=1 HTTP/1.1\r\nHost: www.example.com\r\n"},
			{"absolute_form_of_https", "GET https://www.example.com/p HTTP/1.1\r\nHost: other\r\n", "GET https://www.example.com/p HTTP/1.1\r\nHost: www.example.com\r\n"},
			{"absolute_form_without_path", "OPTIONS http://www.example.com HTTP/1.1\r\nHost: www.example.com\r\n", "OPTIONS http://www.example.com HTTP/1.1\r\n"},
			{"asterisk_form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n", "OPTIONS * HTTP/1.1\r\n"},
			{"case_of_names", "GET / HTTP/1.1\r\nHost: a\r\nSOAPAction: x\r\nx-LOW: y\r\nlower: z\r\nX-low: 2\r\n", "\r\nSOAPAction: x\r\nx-LOW: y\r\nlower: z\r\nX-low: 2\r\n"},
			{"forged_list_of_names", "GET / HTTP/1.1\r\nHost: a\r\nx-fairlead-spelling: LOWER\r\nlower: z\r\n", "\r\nlower: z\r\n"},
			{"list_of_names_too_long", "GET / HTTP/1.1\r\nHost: a\r\nX-" + strings.Repeat("a", maxSpelling) + ": y\r\n", ": y\r\n"},
		} {
			if got := said(t, addr, tt.in+"Connection: close\r\n\r\n"); !strings.Contains(got, tt.want) || strings.Contains(got, markPrefix) {
				t.Errorf("%s, %s: %q, want %q in it", way, tt.name, got, tt.want)
			}
		}
		if got := said(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "\r\nX-MixedCase: Yes\r\nSOAPAction: b\r\nlower: c\r\n") {
			t.Errorf("%s: response %q, want its names as the app wrote them", way, got)
		}
	})
}

// What HTTP/1.0 does not say, HTTP/1.1 must: the app is told what was dialled.
func TestHTTP10WithoutHost(t *testing.T) {
	likeness(t, mirrored, func(t runner, addr, way string, called *sidecar) {
		want := "\r\nHost: users-service.myapp.svc.cluster.local:8080\r\n"
		if way == "plain caller" {
			want = "\r\nHost: " + app(called).String() + "\r\n"
		}
		if got := said(t, addr, "GET /a HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", way, got, want)
		}
	})
}

// A response that breaks a rule is described to its caller in the same words, however many sidecars are on the way, and
// once to whoever looks after the app.
func TestCauseOfABadResponse(t *testing.T) {
	for _, tt := range []struct{ name, response, rule string }{
		{"two_lengths", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "Content-Length beside Transfer-Encoding"},
		{"coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", "identity"},
		{"bare_lf", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "LF"},
		{"field_name", "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n", "field name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			likeness(t, func(string) string { return tt.response }, func(t runner, addr, way string, called *sidecar) {
				got := said(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				head, body, _ := strings.Cut(got, "\r\n\r\n")
				if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(head, tt.rule) || !strings.Contains(body, tt.rule) {
					t.Errorf("%s: %q, want 503 that names %q in proxy-status and body", way, got, tt.rule)
				}
				if strings.Contains(t.Name(), "mesh") || way == "plain caller" {
					if n := strings.Count(called.log.String(), tt.rule); n != 1 { // once, however often it happens
						t.Errorf("%s: the called sidecar's log names the rule %d times: %s", way, n, called.log)
					}
				}
			})
		})
	}
}

// The length that the head of a bodiless response names is the app's, and where it names none no sidecar makes one up.
func TestLengthWithoutABody(t *testing.T) {
	answers := map[string]string{
		"/head/length": "200 OK\r\nContent-Length: 5", "/head/zero": "200 OK\r\nContent-Length: 0", "/head/none": "200 OK",
		"/304/length": "304 Not Modified\r\nContent-Length: 5", "/304/zero": "304 Not Modified\r\nContent-Length: 0", "/304/none": "304 Not Modified",
	}
	say := func(head string) string {
		return "HTTP/1.1 " + answers[strings.Fields(head)[1]] + "\r\nConnection: close\r\n\r\n"
	}
	likeness(t, say, func(t runner, addr, way string, _ *sidecar) {
		for path, want := range answers {
			method := "GET"
			if strings.HasPrefix(path, "/head/") {
				method = "HEAD"
			}
			got := said(t, addr, method+" "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_, length, _ := strings.Cut(want, "\r\n")
			if length == "" && strings.Contains(got, "Content-Length") || !strings.Contains(got, length) || strings.Contains(got, "chunked") {
				t.Errorf("%s, %s %s: %q, want %q", way, method, path, got, want)
			}
		}
	})
}
