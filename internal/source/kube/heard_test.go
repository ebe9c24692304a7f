package kube

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/config"
)

// ends is a connection whose next Read gives that.
type ends struct {
	net.Conn
	n   int
	err error
}

func (c *ends) Read([]byte) (int, error) { return c.n, c.err }

func TestTroubleIsAsOldAsTheLastWordOfTheServer(t *testing.T) {
	for _, c := range []struct {
		name string
		end  ends
		want time.Duration // what is said to be the age, 45 s after the server stalled and after the end
	}{
		{"this side gave up", ends{err: net.ErrClosed}, 45 * time.Second},
		{"this side gave up, and says so otherwise", ends{err: &net.OpError{Op: "read", Err: net.ErrClosed}}, 45 * time.Second},
		{"this side waits no longer", ends{err: os.ErrDeadlineExceeded}, 45 * time.Second},
		{"the server closed", ends{err: io.EOF}, 0},
		{"the server was killed", ends{err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, 0},
		{"the server said something", ends{n: 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := &ends{n: 10}
				s, err := New(Options{OfClusters: true, Config: &rest.Config{Host: "https://east:6443", Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}})
				if err != nil {
					t.Fatal(err)
				}
				opened, err := s.config.Dial(t.Context(), "tcp", "east:6443")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = opened.Read(nil)
				time.Sleep(45 * time.Second)
				*conn = c.end
				_, _ = opened.Read(nil)
				s.health.fail(t.Context(), subject{kind: &s.kinds[0]}, "watch", http.ErrServerClosed)
				if since, cause := s.Trouble(); time.Since(since) != c.want || cause == "" {
					t.Errorf("Trouble() = %s ago, %q, want %s", time.Since(since), cause, c.want)
				}
			})
		})
	}
}

func TestTroubleOfAServerThatWasNeverHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(slog.New(slog.DiscardHandler), "https://east:6443", func() {})
		h.heard = new(heard).last
		h.fail(t.Context(), subject{kind: &config.Kind{Name: "Node"}}, "list", http.ErrServerClosed)
		if since, _ := h.trouble(); !since.Equal(time.Now()) {
			t.Errorf("trouble() = since %s, want now", since)
		}
	})
}

func TestTroubleNamesTheServerOnce(t *testing.T) {
	h := newHealth(slog.New(slog.DiscardHandler), "https://east:6443", func() {})
	h.fail(t.Context(), subject{kind: &config.Kind{Name: "Node"}}, "list", &url.Error{Op: "Get", URL: "https://east:6443/api/v1/nodes?limit=500", Err: syscall.ECONNREFUSED})
	if _, cause := h.trouble(); cause != "no answer from https://east:6443: connection refused" {
		t.Errorf("trouble() = %q", cause)
	}
}

func TestTroubleNamesCredentialsThatAreNotAccepted(t *testing.T) {
	h := newHealth(slog.New(slog.DiscardHandler), "https://east:6443", func() {})
	h.fail(t.Context(), subject{kind: &config.Kind{Name: "Node"}}, "list", apierrors.NewUnauthorized("Unauthorized"))
	const want = "https://east:6443: the API server does not accept the credentials: no Node can be read: Unauthorized"
	if _, cause := h.trouble(); cause != want {
		t.Errorf("trouble() = %q, want %q", cause, want)
	}
}
