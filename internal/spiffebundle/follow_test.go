package spiffebundle_test

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/spiffebundle"
)

// An endpoint is believed by its certificate; an error of it, what leads elsewhere and what never ends are no bundles.
func TestFetch(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bundle":
			_, _ = io.WriteString(w, r.Method+" the bundle")
		case "/elsewhere":
			http.Redirect(w, r, "/bundle", http.StatusFound)
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("x", 1<<17))
		default:
			http.NotFound(w, r)
		}
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of those who do not believe it
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := spiffebundle.NewClient(roots)
	for _, tt := range []struct{ url, want, err string }{
		{url: server.URL + "/bundle", want: "GET the bundle"},
		{url: server.URL + "/endless", want: string(make([]byte, spiffebundle.MaxBytes+1))},
		{url: server.URL + "/elsewhere", err: "answers 302 Found"},
		{url: server.URL + "/nowhere", err: "answers 404 Not Found"},
		{url: server.URL + "/headers", err: "header"},
		{url: "http" + strings.TrimPrefix(server.URL, "https"), err: "a bundle comes by https"},
		{url: "https:///bundle", err: "a bundle comes by https"},
		{url: "https://a:secret@b.example", err: "https://a:xxxxx@b.example: the address of a bundle has no user in it"},
		{url: "https://a b", err: "invalid character"},
	} {
		text, err := spiffebundle.Fetch(t.Context(), tt.url, client)
		if (tt.err == "") != (err == nil) || string(text) != tt.want || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("%s: %d bytes, %v; want %d, %s", tt.url, len(text), err, len(tt.want), tt.err)
		}
	}
	if _, err := spiffebundle.Fetch(t.Context(), server.URL+"/bundle", spiffebundle.NewClient(nil)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("of a stranger: %v", err)
	}
}

// answers is a transport whose answers a test says; nil for an endpoint that accepts a question and never answers. Who holds the lock may
// look at what a follower uses.
type answers struct {
	sync.Mutex
	now   func() (string, error)
	asked []time.Duration // since the start
	start time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.Lock()
	a.asked = append(a.asked, time.Since(a.start))
	a.Unlock()
	if a.now == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	a.Lock()
	defer a.Unlock()
	text, err := a.now()
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// An endpoint is asked as often as it wishes, within bounds; without a first answer soon again, and ever less often.
func TestFollowerAsks(t *testing.T) {
	t.Parallel()
	key := root(t, ellipticKey(t, elliptic.P256()), x509.Certificate{IsCA: true})
	good, err := spiffebundle.Encode([]*x509.Certificate{key})
	if err != nil {
		t.Fatal(err)
	}
	hint := func(seconds int) func() (string, error) {
		return func() (string, error) {
			return strings.Replace(string(good), "{", fmt.Sprintf(`{"spiffe_refresh_hint": %d,`, seconds), 1), nil
		}
	}
	refused := func() (string, error) { return "", errors.New("refused") }
	s, m, h := time.Second, time.Minute, time.Hour
	for _, tt := range []struct {
		name string
		now  func() (string, error)
		want []time.Duration
	}{
		{"no wish", func() (string, error) { return string(good), nil }, []time.Duration{0, 5 * m, 10 * m, 15 * m}},
		{"a wish", hint(120), []time.Duration{0, 2 * m, 4 * m, 6 * m}},
		{"too often", hint(1), []time.Duration{0, m, 2 * m, 3 * m}},
		{"too seldom", hint(1e9), []time.Duration{0, 24 * h, 48 * h, 72 * h}},
		{"never answers", refused, []time.Duration{0, 5 * s, 15 * s, 35 * s, 75 * s, 155 * s, 315 * s, 615 * s, 915 * s}},
		{"stalls", nil, []time.Duration{0, 15 * s, 35 * s, 65 * s, 115 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &answers{now: tt.now, start: time.Now()}
				f, stop := follow(t, a, func(spiffebundle.Bundle) error { return nil }, func(error) {})
				<-f.Settled()
				time.Sleep(tt.want[len(tt.want)-1] + s)
				stop()
				if got := a.asked[:min(len(a.asked), len(tt.want))]; !slices.Equal(got, tt.want) {
					t.Errorf("asked at %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// What was read last stays, whatever is answered after that; a fault is told when it begins and when it ends.
func TestFollowerKeeps(t *testing.T) {
	t.Parallel()
	var bundles []string
	for range 2 {
		text, err := spiffebundle.Encode([]*x509.Certificate{root(t, ellipticKey(t, elliptic.P256()), x509.Certificate{IsCA: true})})
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, string(text))
	}
	synctest.Test(t, func(t *testing.T) {
		text, fault, refuse := bundles[0], error(nil), error(nil)
		a := &answers{now: func() (string, error) { return text, fault }, start: time.Now()}
		var used, told []string
		f, stop := follow(t, a, func(b spiffebundle.Bundle) error {
			a.Lock()
			defer a.Unlock()
			if refuse == nil {
				encoded, _ := spiffebundle.Encode(b.Roots)
				used = append(used, string(encoded))
			}
			return refuse
		}, func(err error) {
			a.Lock()
			defer a.Unlock()
			told = append(told, fmt.Sprint(err))
		})
		defer stop()
		<-f.Settled()
		a.Lock()
		defer a.Unlock()
		fetched := f.Status().Fetched
		pass := func(d time.Duration) {
			a.Unlock()
			defer a.Lock()
			time.Sleep(d)
			synctest.Wait()
		}
		turn := func() { pass(spiffebundle.DefaultRefresh) }
		for i, bad := range []string{"<html>", "", `{"keys": [{"use": "jwt-svid"}]}`, strings.Repeat(" ", 2*spiffebundle.MaxBytes)} {
			text = bad
			turn()
			turn()
			s := f.Status()
			if len(used) != 1 || s.Fault == "" || s.Failures <= uint64(i) || s.Roots != 1 || !s.Fetched.Equal(fetched) {
				t.Errorf("%.20q: used %d times, status %+v", bad, len(used), s)
			}
		}
		text, fault = bundles[1], errors.New("refused")
		turn()
		fault, refuse = nil, errors.New("too many")
		turn()
		if s := f.Status(); len(used) != 1 || s.Fault != "too many" {
			t.Errorf("used %d times, status %+v", len(used), s)
		}
		if len(told) != 1 || !strings.Contains(told[0], "invalid character '<'") {
			t.Errorf("told %q, want the first fault", told)
		}
		pass(time.Hour)
		if len(told) != 2 || told[1] != "too many" {
			t.Errorf("told %q, want what is the fault by now as well", told)
		}
		refuse = nil
		turn()
		if s := f.Status(); used[len(used)-1] != bundles[1] || s.Fault != "" || !s.Fetched.After(fetched) || told[len(told)-1] != "<nil>" {
			t.Errorf("used %d times, status %+v, told %q; want the second bundle", len(used), s, told)
		}
		text = `{"keys": []}`
		turn()
		if s := f.Status(); used[len(used)-1] == bundles[1] || s.Roots != 0 || s.Fault != "" {
			t.Errorf("status %+v, want that all is revoked", s)
		}
	})
}

// follow runs a follower in a bubble until stop is called.
func follow(t *testing.T, a *answers, use func(spiffebundle.Bundle) error, tell func(error)) (*spiffebundle.Follower, func()) {
	t.Helper()
	f := spiffebundle.NewFollower(spiffebundle.FollowerOptions{
		URL: "https://east.example/bundle", Use: use, Tell: tell,
		Client: func() (*http.Client, error) {
			c := spiffebundle.NewClient(nil)
			c.Transport = a
			return c, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	return f, func() { cancel(); <-done }
}
