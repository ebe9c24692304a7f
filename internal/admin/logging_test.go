package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestLogLevelIsShownAndSet(t *testing.T) {
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	srv := httptest.NewServer(Sidecar{LogLevel: level}.Admin())
	defer srv.Close()
	c := Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}}
	for _, step := range []struct {
		to   string // empty to look only
		want slog.Level
		fail bool
	}{
		{"", slog.LevelWarn, false},
		{"debug", slog.LevelDebug, false},
		{"", slog.LevelDebug, false},
		{"loud", slog.LevelDebug, true},
		{"critical", slog.LevelError, false},
		{"initial", slog.LevelWarn, false},
	} {
		ask := c.Logging
		if step.to != "" {
			ask = func(ctx context.Context) (Logging, error) { return c.SetLogging(ctx, step.to) }
		}
		have, err := ask(t.Context())
		refused, _ := errors.AsType[*PageError](err)
		if step.fail != (refused != nil && refused.Code == http.StatusBadRequest) || !step.fail && err != nil {
			t.Fatalf("%q: %v", step.to, err)
		}
		if want := (Logging{levelName(step.want), "warn"}); !step.fail && have != want || level.Level() != step.want {
			t.Errorf("%q: %+v, and the level is %s, want %+v", step.to, have, level.Level(), want)
		}
	}
}

func TestLogLevelThatCannotBeSet(t *testing.T) {
	w := httptest.NewRecorder()
	Sidecar{}.Admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, pathLogging, http.NoBody))
	if w.Code != http.StatusNotFound {
		t.Errorf("without a level: %d", w.Code)
	}
}
