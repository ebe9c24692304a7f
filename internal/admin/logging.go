package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// pathLogging is where a sidecar says how much it logs, and is told to log more or less: POST with ?level=, as Envoy's.
const pathLogging = "/logging"

// Logging is how much a sidecar logs.
type Logging struct {
	// Level is "debug", "info", "warn" or "error"; Initial is what it was at the beginning.
	Level   string `json:"level"`
	Initial string `json:"initial"`
}

// loggingPage shows and sets a level. "initial" is the one that it has now.
func loggingPage(level *slog.LevelVar) http.Handler {
	initial := level.Level()
	var mu sync.Mutex // a level is answered as it was set
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodPost:
			to, err := ParseLogLevel(r.FormValue("level"))
			if r.FormValue("level") == "initial" {
				to, err = initial, nil
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			level.Set(to)
		default:
			w.Header().Set("Allow", "GET, HEAD, POST")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		writeJSON(w, Logging{Level: levelName(level.Level()), Initial: levelName(initial)})
	})
}

// ParseLogLevel takes the levels of a sidecar, and Envoy's for the nearest of them.
func ParseLogLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "critical", "off":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is none of debug, info, warn and error", s)
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// Logging says how much a sidecar logs.
func (c Client) Logging(ctx context.Context) (Logging, error) {
	return read[Logging](ctx, c, pathLogging)
}

// SetLogging has a sidecar log more or less, until it ends: a level that ParseLogLevel takes, or "initial".
func (c Client) SetLogging(ctx context.Context, level string) (Logging, error) {
	return ask[Logging](ctx, c, http.MethodPost, pathLogging+"?level="+url.QueryEscape(level))
}
