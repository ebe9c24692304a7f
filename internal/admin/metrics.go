package admin

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Any client that reaches the port may ask for metrics, also of a workload that takes mutual TLS only. So few are
// answered at once, and one that does not read is cut off soon.
const (
	maxReaders = 64
	readerTime = 15 * time.Second
)

// Metrics is a page in the Prometheus text format 0.0.4. All ports of a process that serve it share one value, so that
// its readers are counted together.
type Metrics struct {
	// Write writes the page. It holds no lock while it does: a client may read as slowly as it likes.
	Write   func(io.Writer) error
	readers atomic.Int64 // pages that are being sent
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	defer m.readers.Add(-1)
	if m.readers.Add(1) > maxReaders {
		http.Error(w, "too many readers of metrics at once", http.StatusServiceUnavailable)
		return
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(readerTime)) // a writer without deadlines is a test's
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if m.Write(w) == nil && c.Flush() == nil {
		_ = c.SetWriteDeadline(time.Time{}) // the connection may be used again
	}
}
