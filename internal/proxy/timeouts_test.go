package proxy

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// timely is an app that tells the fields of each request and answers those for /now only.
func timely(fields chan<- http.Header) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fields <- r.Header
		if r.URL.Path == "/begun" {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
		}
		if r.URL.Path != "/now" {
			<-r.Context().Done()
		}
	})
}

// appGot gives the head that the app got next. A request whose time is over before it has reached the app never gets there.
func appGot(t runner, fields <-chan http.Header) (h http.Header) {
	t.Helper()
	eventually(t, "the app got the request", func() bool {
		select {
		case h = <-fields:
			return true
		default:
			return false
		}
	})
	return h
}

func eachVersion(t runner, m *mesh, orders *sidecar, test func(t runner, c *http.Client)) {
	t.Run("h1", func(t *testing.T) { test(runner{t}, m.client(orders)) })
	t.Run("h2", func(t *testing.T) { test(runner{t}, m.h2cClient(m.entrance(orders, usersAddr()))) })
}

func request(t runner, c *http.Client, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", usersURL+path, strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// The own app says how long its request may take, and the called one is told what is left of it.
func TestTimeoutFields(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		fields := make(chan http.Header, 9)
		m.bothApp(app(users), timely(fields))
		orders.apply(service(model.Undeclared, e)...)
		eachVersion(t, m, orders, func(t runner, c *http.Client) {
			for _, tt := range []struct {
				name, field, value string
				expected           int
			}{
				{"the request's", "X-Envoy-Upstream-Rq-Timeout-Ms", "3000", 3000},
				{"a try's", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "2900", 2900},
			} {
				resp, body := request(t, c, "/never", tt.field, tt.value)
				if resp.StatusCode != 504 || !strings.HasPrefix(body, "upstream request timeout") {
					t.Errorf("%s: %d %q", tt.name, resp.StatusCode, body)
				}
				got := appGot(t, fields)
				if n, err := strconv.Atoi(got.Get("X-Envoy-Expected-Rq-Timeout-Ms")); err != nil || n < 1 || n > tt.expected || got.Get(tt.field) != "" {
					t.Errorf("%s: the app was told %v", tt.name, got)
				}
			}
			if resp, _ := request(t, c, "/now"); resp.StatusCode != 200 || len(appGot(t, fields)["X-Envoy-Expected-Rq-Timeout-Ms"]) > 0 {
				t.Errorf("without a limit: %d", resp.StatusCode)
			}
		})
	})
}

// A gRPC call ends by its deadline in gRPC's terms, also in the middle of its answer, and what is left of it goes on.
func TestDeadlineOfGRPC(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		fields := make(chan http.Header, 9)
		m.h2cApp(app(users), timely(fields))
		orders.apply(service(model.GRPC, e)...)
		c := m.h2cClient(m.entrance(orders, usersAddr()))
		for path, status := range map[string]func(*http.Response) string{
			"/never": func(r *http.Response) string { return r.Header.Get("Grpc-Status") },
			"/begun": func(r *http.Response) string { return r.Trailer.Get("Grpc-Status") },
		} {
			begun := time.Now()
			resp, _ := request(t, c, path, "Content-Type", "application/grpc", "Te", "trailers", "Grpc-Timeout", "3S")
			if got := status(resp); resp.StatusCode != 200 || got != "4" || time.Since(begun) < 3*time.Second/2 {
				t.Errorf("%s: %d, grpc-status %q after %s, want DEADLINE_EXCEEDED", path, resp.StatusCode, got, time.Since(begun))
			}
			value := appGot(t, fields).Get("Grpc-Timeout")
			if n, err := strconv.Atoi(strings.TrimSuffix(value, "u")); err != nil || n >= 3_000_000 {
				t.Errorf("%s: the app was told %q", path, value)
			}
		}
	})
}
