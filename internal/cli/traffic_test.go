package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// replica is a control plane's monitor port that answers with a status, and what it knows.
func replica(t *testing.T, name string, status int, a *traffic.Answer) place {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/observe/v1/edges" || q.Get("window") != "1m0s" || q.Get("namespace") != "shop" || r.Header.Get("Authorization") != "Bearer proof" {
			status = http.StatusBadRequest
		}
		if status == http.StatusForbidden {
			http.Error(w, "alice may not", status)
			return
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(s.Close)
	return place{name: name, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}
}

// TestTrafficIsAskedOfEveryReplica: what some know is told also where others do not answer, or are too old to, and that is said.
func TestTrafficIsAskedOfEveryReplica(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	knows := func(pod string, since time.Duration) *traffic.Answer {
		return &traffic.Answer{At: now, Since: now.Add(-since), Flows: []traffic.Flow{{Namespace: "shop", Pod: pod}}}
	}
	first, second := replica(t, "first", http.StatusOK, knows("a", time.Hour)), replica(t, "second", http.StatusOK, knows("b", time.Hour))
	young, old := replica(t, "young", http.StatusOK, knows("c", 20*time.Second)), replica(t, "old", http.StatusNotFound, nil)
	closed := replica(t, "closed", http.StatusForbidden, nil)
	for _, tt := range []struct {
		name   string
		places []place
		pods   string
		said   string // on standard error, or the error
	}{
		{"all", []place{first, second}, "a b", ""},
		{"one_is_too_old", []place{first, old}, "a", "fairlead: a part may be missing: old: the control plane is older than this command and cannot be asked this: fairlead upgrade --apply\n"},
		{"one_was_restarted", []place{first, young}, "a c", "fairlead: the control plane has data of the last 20s only: it has not run for longer\n"},
		{"not_allowed", []place{closed}, "", "closed: alice may not"},
		{"none", []place{old}, "", "old: the control plane is older than this command and cannot be asked this: fairlead upgrade --apply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			m := &mesh{
				controllers: func(context.Context) ([]place, error) { return tt.places, nil },
				token:       func(context.Context) (string, error) { return "proof", nil },
			}
			answer, err := teller{&app{Streams: Streams{Err: &said}}}.trafficOf(t.Context(), m, &asked{window: time.Minute, namespace: "shop"})
			var pods []string
			if err != nil {
				said.WriteString(err.Error())
			} else {
				for i := range answer.Flows {
					pods = append(pods, answer.Flows[i].Pod)
				}
			}
			if got := strings.Join(pods, " "); got != tt.pods || said.String() != tt.said {
				t.Errorf("pods %q and %q are told, want %q and %q", got, said.String(), tt.pods, tt.said)
			}
		})
	}
}
