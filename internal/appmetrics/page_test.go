package appmetrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// end is what follows the app's part of the page.
func end(up, dropped int) string {
	return fmt.Sprintf("# TYPE fairlead_app_metrics_up gauge\nfairlead_app_metrics_up %d\n"+
		"# TYPE fairlead_app_metrics_dropped_lines gauge\nfairlead_app_metrics_dropped_lines %d\n", up, dropped)
}

// app is a page whose app is a handler, over pipes, so that tests can run in a synctest bubble.
func app(t *testing.T, url string, h http.HandlerFunc) (*Page, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	p, err := New(Options{
		URL: url, PodIP: netip.MustParseAddr("10.0.0.7"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Dial: func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			if addr.String() != "10.0.0.7:9797" {
				t.Errorf("dialled %s", addr)
			}
			ours, theirs := net.Pipe()
			select {
			case l.conns <- theirs:
				return ours, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, &log
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "app"} }

func scrape(t *testing.T, p *Page, header ...string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/stats/prometheus", http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	var out strings.Builder
	if err := p.Append(r, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAppendCopiesThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const page = `# HELP http_requests_total Requests, "quoted".
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",path="C:\\DIR\\",note="a \"b\"\n",} 3

metric_without_labels 12.47
weird{ a = "b" , c="{}," }   NaN
big +Inf
rpc:rate5m -1.7e-9
# TYPE latency histogram
latency_bucket{le="0.05"} 24054
latency_sum 53423
`
		p, _ := app(t, "http://:9797/metrics?all=1", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() != "/metrics?all=1" || r.Host != "10.0.0.7:9797" || !strings.HasPrefix(r.Header.Get("Accept"), "text/plain;version=0.0.4") {
				t.Errorf("asked for %s of %s, accepting %s", r.URL, r.Host, r.Header.Get("Accept"))
			}
			io.WriteString(w, page)
		})
		if diff := cmp.Diff(strings.Replace(page, "\n\n", "\n", 1)+end(1, 0), scrape(t, p)); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
	})
}

// TestAppendLeavesOutWhatIsNotValid: one bad line must not cost the pod's whole scrape, the sidecar's part included.
func TestAppendLeavesOutWhatIsNotValid(t *testing.T) {
	tests := []struct {
		name, page, want string
		dropped          int
	}{
		{"html", "<html>\n<body>not found</body>\n</html>\n", "", 3},
		{"no_value", "a\nb{}\nc{x=\"y\"}\nd 1\n", "d 1\n", 3},
		{"words_for_a_value", "a one\nb 0x1p3\nc 1_000\nd 1 2 3\ne 1 1.5\n", "", 5},
		{"exponent_out_of_range", "a 1e999\n", "a 1e999\n", 0},
		{"bad_names", "1a 1\na-b 1\na{b-c=\"d\"} 1\na{b:c=\"d\"} 1\na{__name__=\"b\"} 1\n{\"quoted\"} 1\nä 1\n", "", 7},
		{"open_ends", "a{b=\"c} 1\na{b=\"c\" 1\na{b=\"c\\\"} 1\na{b=\"\\x\"} 1\na{b} 1\na{b=c} 1\na{b=\"c\"d=\"e\"} 1\n", "", 7},
		{"a_label_twice", "a{b=\"1\",b=\"2\"} 1\n", "", 1},
		{"not_utf8", "a{b=\"\xff\"} 1\n# HELP a \xff\nc 1\n", "c 1\n", 2},
		{"zeros_and_odd_blanks", "a 1\x00\nb\v1\nc 1\u00a02\nd\u00a0 1\n", "", 4},
		{"comments_of_other_formats", "# UNIT a seconds\n# EOF\n#a\n# hello\na 1\n", "a 1\n", 0},
		{"types_of_other_formats", "# TYPE a info\n# TYPE b\n# TYPE c gauge d\na 1\n", "a 1\n", 3},
		{"a_type_twice", "# TYPE a gauge\n# HELP a x\n# TYPE a counter\n# HELP a y\na 1\n", "# TYPE a gauge\n# HELP a x\na 1\n", 0},
		{"a_type_too_late", "a 1\n# TYPE a counter\na 2\n", "a 1\na 2\n", 0},
		{"metrics_of_the_mesh", "# TYPE istio_requests_total counter\nistio_requests_total{reporter=\"source\"} 9\nfairlead_app_metrics_up 1\nistiod 1\n", "istiod 1\n", 3},
		{"a_line_too_long", "a{b=\"" + strings.Repeat("x", 2*maxLine) + "\"} 1\nc 1\n", "c 1\n", 1},
		{"carriage_returns", "a 1\r\nb 2\r\n", "a 1\nb 2\n", 0},
		{"no_line_at_the_end", "a 1\nb 2", "a 1\nb 2\n", 0},
		{"nothing", "", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := app(t, "http://:9797/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, tt.page) })
				if diff := cmp.Diff(tt.want+end(1, tt.dropped), scrape(t, p)); diff != "" {
					t.Errorf("page (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAppendWithoutAPage(t *testing.T) {
	tests := []struct {
		name string
		app  http.HandlerFunc
		want string
		log  string
	}{
		{"not_found", http.NotFound, end(0, 0), "HTTP status 404"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		}, end(0, 0), "HTTP status 302"},
		{"broken_off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "a 1\nb{x=\"")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "a 1\n" + end(0, 0), "broke off"},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, end(0, 0), "no answer in time"},
		{"without_end", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "a 1\n")
			for line := "b{x=\"" + strings.Repeat("x", 1<<10) + "\n"; ; {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}, "", "longer than 16 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := app(t, "http://:9797/metrics", tt.app)
				for range 2 {
					got := scrape(t, p)
					if tt.want != "" && got != tt.want || tt.want == "" && !strings.Contains(got, "fairlead_app_metrics_up 0\n") {
						t.Errorf("page = %q, want %q", got, tt.want)
					}
				}
				if n := strings.Count(log.String(), "the app's page of metrics is missing"); n != 1 || !strings.Contains(log.String(), tt.log) {
					t.Errorf("log = %s, want one line with %q", log, tt.log)
				}
			})
		})
	}
}

// TestAppendKeepsTheAskersTime: what Prometheus does not wait for is lost with all of the page.
func TestAppendKeepsTheAskersTime(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 9500 * time.Millisecond, "3": 2700 * time.Millisecond, "9": 8500 * time.Millisecond, "60": 9500 * time.Millisecond,
		"-1": 9500 * time.Millisecond, "NaN": 9500 * time.Millisecond, "x": 9500 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := app(t, "http://:9797/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			begun := time.Now()
			scrape(t, p, "X-Prometheus-Scrape-Timeout-Seconds", header)
			if took := time.Since(begun); took != want {
				t.Errorf("timeout %q: took %s, want %s", header, took, want)
			}
		})
	}
}

// TestAppendTakesTurns: who asks often does not have the app asked without bound.
func TestAppendTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		busy := make(chan struct{}, 100)
		p, _ := app(t, "http://:9797/", func(w http.ResponseWriter, _ *http.Request) {
			busy <- struct{}{}
			<-let
			io.WriteString(w, "a 1\n")
		})
		done := make(chan string, 100)
		for range 3 * maxReaders {
			go func() { done <- scrape(t, p) }()
		}
		synctest.Wait()
		if asked := len(busy); asked != maxReaders {
			t.Errorf("%d requests to the app at once, want %d", asked, maxReaders)
		}
		close(let)
		for range 3 * maxReaders {
			if got := <-done; got != "a 1\n"+end(1, 0) {
				t.Errorf("page = %q", got)
			}
		}
	})
}

func TestNewRefuses(t *testing.T) {
	dial := func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, net.ErrClosed }
	for _, url := range []string{"", "http://:0/", "http://host:80/", "ftp://:80/", "http:///metrics", "http://:99999/", "http://u@:80/", "http://:80/%zz"} {
		if _, err := New(Options{URL: url, PodIP: netip.MustParseAddr("10.0.0.7"), Dial: dial, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("New(%q) = nil", url)
		}
	}
}
