package admin

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/exposition"
)

// Any client that reaches the port may ask for metrics, also of a workload that takes mutual TLS only. So few are
// answered at once, and one that does not read is cut off soon.
const (
	maxReaders = 64
	readerTime = 15 * time.Second
)

// Metrics is a page in the Prometheus text format 0.0.4, or in protobuf. All ports of a process that serve it share one value, so that
// its readers are counted together.
type Metrics struct {
	// Write writes the page. It holds no lock while it does: a client may read as slowly as it likes.
	Write func(io.Writer) error
	// Native reports whether there are native histograms, which a scraper that takes protobuf gets: then Write's writer is an
	// exposition.Writer. nil says that there are none, and everybody gets text.
	Native  func() bool
	readers atomic.Int64 // pages that are being sent
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.serve(w, r) }

// serve writes the page, and gives what takes more of it in the same form; nil where nothing may follow.
func (m *Metrics) serve(w http.ResponseWriter, r *http.Request) *body {
	defer m.readers.Add(-1)
	if m.readers.Add(1) > maxReaders {
		http.Error(w, "too many readers of metrics at once", http.StatusServiceUnavailable)
		return nil
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(readerTime)) // a writer without deadlines is a test's
	b := &body{Writer: w, end: func() error { return nil }}
	if m.Native != nil && m.Native() && exposition.PrefersProtobuf(strings.Join(r.Header.Values("Accept"), ",")) {
		w.Header().Set("Content-Type", exposition.Protobuf)
		translated := exposition.NewWriter(w)
		b.Writer, b.end = translated, translated.Flush
	} else {
		w.Header().Set("Content-Type", exposition.Text)
	}
	if m.Write(b.Writer) != nil || b.end() != nil || c.Flush() != nil {
		return nil
	}
	_ = c.SetWriteDeadline(time.Time{}) // the connection may be used again
	return b
}

// body is a page on its way to a client.
type body struct {
	io.Writer
	end func() error // sends what is written so far
}
