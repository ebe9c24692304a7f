package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// ProbesPath is what the paths of the app's probes begin with, which the sidecar answers for the kubelet.
const ProbesPath = "/app-health/"

// HoldPath is asked by the kubelet before it tells the app to end, and answered once the app may be told.
const HoldPath = "/drain/hold"

// pathDump is where a sidecar says what it has.
const pathDump = "/config_dump"

// pathReadyShort is Istio's other path of readiness.
const pathReadyShort = "/ready"

// IsProbe reports whether a path of a sidecar's pages is one that a kubelet asks for.
func IsProbe(path string) bool {
	return path == pathReady || path == pathReadyShort || path == HoldPath || strings.HasPrefix(path, ProbesPath)
}

// Sidecar serves what a sidecar says of itself. Its functions are called per request, from several goroutines.
type Sidecar struct {
	Metrics *Metrics
	Dump    func() Dump
	// Failures gives the calls that failed lately.
	Failures func() Failures
	// Why says what becomes of a request of the app.
	Why func(context.Context, *Asked) Why
	// LogLevel is how much the sidecar logs. Nil where that cannot be changed: then there is no page of it.
	LogLevel *slog.LevelVar
	// Ready gives "" or what is missing.
	Ready func() string
	// Quit ends the sidecar gracefully (POST /quitquitquit, as Istio's agent).
	Quit func()
	// Probes answers what begins with ProbesPath.
	Probes http.Handler
	// HoldApp returns when the app may be told to end: GET HoldPath is the app's preStop hook. nil answers at once.
	HoldApp func(context.Context)
	// App writes the app's own page of metrics, in the text format, for a request, behind that of the sidecar; nil where the app
	// has none.
	App func(*http.Request, io.Writer) error
}

// Admin is the handler of the loopback port 15000.
func (s Sidecar) Admin() http.Handler {
	mux := s.mux(s.Metrics.ServeHTTP)
	mux.HandleFunc("GET "+pathDump, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Dump()) })
	mux.HandleFunc("GET "+pathFailures, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Failures()) })
	mux.HandleFunc("GET "+pathWhy, whyPage(s.Why))
	if s.LogLevel != nil {
		mux.Handle(pathLogging, loggingPage(s.LogLevel))
	}
	mux.HandleFunc("POST /quitquitquit", func(w http.ResponseWriter, _ *http.Request) {
		s.Quit()
		w.Write([]byte("OK\n"))
	})
	return mux
}

// Agent is the handler of 15020: the public pages, and the app's probes and metrics.
func (s Sidecar) Agent() http.Handler {
	stats := s.Metrics.ServeHTTP
	if s.App != nil {
		stats = s.merged
	}
	mux := s.mux(stats)
	mux.Handle(ProbesPath, s.Probes)
	mux.HandleFunc("GET "+HoldPath, func(w http.ResponseWriter, r *http.Request) {
		if s.HoldApp != nil {
			s.HoldApp(r.Context())
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// Public is the handler of 15021 and 15090: metrics and readiness, nothing that tells about configuration.
func (s Sidecar) Public() http.Handler { return s.mux(s.Metrics.ServeHTTP) }

// mergedTime bounds the sending of the app's page, which is read from the app as fast as it is sent: a client that asks
// and does not read must not hold one of the few places that the app has for its readers.
const mergedTime = 15 * time.Second

// merged is the sidecar's page with the app's behind it.
func (s Sidecar) merged(w http.ResponseWriter, r *http.Request) {
	page := s.Metrics.serve(w, r)
	if page == nil {
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(mergedTime)) // a writer without deadlines is a test's
	if s.App(r, page.Writer) == nil && page.end() == nil {
		_ = c.SetWriteDeadline(time.Time{})
	}
}

// mux has the pages of all ports. stats answers Istio's path, which means all that the pod has to tell.
func (s Sidecar) mux(stats http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats/prometheus", stats)
	mux.HandleFunc("GET "+pathMetrics, s.Metrics.ServeHTTP)
	ready := func(w http.ResponseWriter, _ *http.Request) { writeReady(w, s.Ready(), "LIVE\n") }
	mux.HandleFunc("GET "+pathReady, ready)
	mux.HandleFunc("GET "+pathReadyShort, ready)
	return mux
}
