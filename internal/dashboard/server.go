package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/observe"
)

// Options configure New.
type Options struct {
	// Mesh is where the data comes from. Required.
	Mesh Mesh
	// Page holds the built page: "index.html.gz" and what it asks for. Required.
	Page fs.FS
	// Hosts are names that the server may be reached by beside loopback addresses and "localhost".
	Hosts []string
	// Namespace is the only one that is asked for; empty for all.
	Namespace string
	// Command begins the commands that answers name: "fairlead --context prod".
	Command string
	// Version is that of the program.
	Version string
	// Trace is the URL of a trace, with "{id}" for its ID; empty where nobody keeps traces.
	Trace string
}

// Server is the dashboard.
type Server struct {
	o       Options
	assets  map[string]*asset
	streams atomic.Int32
}

// maxStreams bounds the streams that are open: a browser opens two for each tab that is looked at.
const maxStreams = 32

// askTimeout bounds a question to the mesh.
const askTimeout = 15 * time.Second

// New reads the page.
func New(o Options) (*Server, error) {
	if o.Mesh == nil || o.Page == nil {
		return nil, errors.New("dashboard: Mesh and Page are required")
	}
	assets, err := readAssets(o.Page)
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	return &Server{o: o, assets: assets}, nil
}

// Handler serves the page and its data.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", s.page)
	for name, answer := range s.answers() {
		mux.HandleFunc("GET /api/v1/"+name, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
			defer cancel()
			value, err := answer(ctx, r)
			if err != nil {
				refuse(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			json.NewEncoder(w).Encode(value) //nolint:errcheck,errchkjson // the browser went away
		})
	}
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("GET /api/v1/tap", s.tap)
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is no "+r.URL.Path)
	})
	return s.guard(mux)
}

// answer gives the value of one question, which is encoded as JSON.
type answer func(ctx context.Context, r *http.Request) (any, error)

// answers are all questions but the streams, by their names below /api/v1/.
func (s *Server) answers() map[string]answer {
	of := configuration{s}
	return map[string]answer{
		"meta":     func(ctx context.Context, _ *http.Request) (any, error) { return s.meta(ctx) },
		"traffic":  s.traffic,
		"config":   func(ctx context.Context, _ *http.Request) (any, error) { return of.config(ctx) },
		"problems": func(ctx context.Context, _ *http.Request) (any, error) { return of.problems(ctx) },
		"series":   s.series,
		"service":  of.service,
		"sidecar":  of.sidecar,
		"failures": of.failures,
		"objects":  of.objects,
		"object":   of.object,
	}
}

// badRequestError is a question that cannot be answered as it is put.
type badRequestError string

// Error implements error.
func (e badRequestError) Error() string { return string(e) }

// refuse answers with the one line that an error is.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	var refusal *observe.RefusalError
	var bad badRequestError
	switch {
	case errors.As(err, &refusal):
		status = refusal.Status
	case errors.As(err, &bad):
		status = http.StatusBadRequest
	}
	fail(w, status, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// fail answers with a line of text.
func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text}) //nolint:errcheck,errchkjson // the browser went away
}

// whole reads a number of a query, between least and most; without one it is the fallback.
func whole(r *http.Request, name string, fallback, least, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequestError(fmt.Sprintf("%s %q: write a whole number from %d to %d", name, text, least, most))
	}
	return n, nil
}

// Meta says what is looked at.
type Meta struct {
	About

	Version string `json:"version"`
	// StepSeconds is the finest that is told apart, WindowSeconds the longest that is kept.
	StepSeconds   int64 `json:"step"`
	WindowSeconds int64 `json:"window"`
	Links         Links `json:"links"`
	// Namespace is the only one that is shown, empty for all.
	Namespace string `json:"namespace,omitempty"`
	Command   string `json:"command"`
}

// Links are URLs of other programs.
type Links struct {
	Trace string `json:"trace,omitempty"`
}

// The steps and the memory of the control plane, in seconds.
const (
	stepSeconds   = 10
	windowSeconds = 3600
	leastWindow   = 15
)

func (s *Server) meta(ctx context.Context) (*Meta, error) {
	about, err := s.o.Mesh.About(ctx)
	if err != nil {
		return nil, err
	}
	return &Meta{
		About: about, Version: s.o.Version, StepSeconds: stepSeconds, WindowSeconds: windowSeconds, Links: Links{s.o.Trace},
		Namespace: s.o.Namespace, Command: s.command("check"),
	}, nil
}

// command is a command line of fairlead's.
func (s *Server) command(words ...string) string { return s.o.Command + " " + strings.Join(words, " ") }

// everywhere are the flags for the namespace that is looked at, or for all.
func (s *Server) everywhere() string {
	if s.o.Namespace != "" {
		return "-n " + s.o.Namespace
	}
	return "-A"
}
