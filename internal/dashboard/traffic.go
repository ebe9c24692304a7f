package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/view"
)

// Traffic is the map of a window of time. Times are milliseconds since 1970.
type Traffic struct {
	*view.Graph

	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Since is from when on every replica has data.
	Since   int64   `json:"since"`
	Seconds float64 `json:"seconds"`
	// Cut is how many edges are counted together with others; Note says who did not answer.
	Cut     uint64 `json:"cut,omitempty"`
	Note    string `json:"note,omitempty"`
	Command string `json:"command"`
}

// span is a window of time: so many seconds until to, milliseconds since 1970, 0 for now.
type span struct{ seconds, to int64 }

// spanOf reads "window" and "to".
func spanOf(r *http.Request, fallback int64) (w span, err error) {
	if w.seconds, err = whole(r, "window", fallback, leastWindow, windowSeconds); err != nil {
		return w, err
	}
	const never = 1 << 53 // what JavaScript counts to
	w.to, err = whole(r, "to", 0, 0, never)
	return w, err
}

func (w *span) duration() time.Duration { return time.Duration(w.seconds) * time.Second }

// query is the window for the control plane.
func (w *span) query() url.Values {
	q := url.Values{"window": {w.duration().String()}}
	if w.to > 0 {
		q.Set("to", strconv.FormatInt(w.to, 10))
	}
	return q
}

// flag is the window for a command.
func (w *span) flag() string { return "-t " + w.duration().String() }

// traffic is the map that a request asks for.
func (s *Server) traffic(ctx context.Context, r *http.Request) (any, error) {
	w, err := spanOf(r, 60)
	if err != nil {
		return nil, err
	}
	return s.trafficIn(ctx, w)
}

func (s *Server) trafficIn(ctx context.Context, w span) (*Traffic, error) {
	a, missing, err := s.answer(ctx, w)
	if err != nil {
		return nil, err
	}
	to := a.At
	if w.to > 0 {
		to = time.UnixMilli(w.to)
	}
	return &Traffic{
		Graph: view.GraphOf(a), From: to.Add(-w.duration()).UnixMilli(), To: to.UnixMilli(), Since: a.Since.UnixMilli(),
		Seconds: float64(w.seconds), Cut: a.Cut, Note: missing, Command: s.command("edges deploy", s.everywhere(), w.flag()),
	}, nil
}

// answer is what all replicas together know of a window.
func (s *Server) answer(ctx context.Context, w span) (*traffic.Answer, string, error) {
	answers, missing, err := ask[traffic.Answer](ctx, s, observe.ViewEdges, w.query())
	if err != nil {
		return nil, "", err
	}
	a := traffic.Merge(answers)
	return &a, missing, nil
}

// ask puts a question about the namespace at hand to every replica, and decodes the answers.
func ask[T any](ctx context.Context, s *Server, view string, query url.Values) (answers []T, missing string, err error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("namespace", s.o.Namespace)
	said, err := s.o.Mesh.Ask(ctx, view, query)
	if err != nil {
		return nil, "", err
	}
	for _, body := range said.Bodies {
		var one T
		if err := json.Unmarshal(body, &one); err != nil {
			return nil, "", fmt.Errorf("%s: the control plane's answer is not understood: %w", view, err)
		}
		answers = append(answers, one)
	}
	return answers, said.Missing, nil
}
