package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The paths of the API. That of a view follows PathViews.
const (
	PathTap   = "/observe/v1/tap"
	PathViews = "/observe/v1/"
)

// ViewEdges is the view of who called whom: a traffic.Answer as JSON. Beside "namespace" its query has "window", a duration, and "to", when
// that ends, in milliseconds since 1970: now where it is absent.
const ViewEdges = "edges"

// ViewSeries is the view of how calls went over time: a traffic.Series. Its query is that of ViewEdges, and which calls are meant:
// "node", "src", "service", "ns", as view.Choice has them. "step" is how long its parts are at least, a multiple of ten seconds: where
// it is absent ten seconds, but a minute in a window of more than fifteen.
const ViewSeries = "series"

// Permission is what a user must be allowed, in one namespace, or in all where Namespace is empty.
type Permission struct {
	// Kind is closed: View, TapHeads or Secrets.
	Kind      PermissionKind
	Namespace string
}

// PermissionKind is what one may be allowed to see.
type PermissionKind uint8

const (
	// View is of numbers: who calls whom, and how often.
	View PermissionKind = iota + 1
	// TapHeads is of the heads of requests, but for values that are secrets.
	TapHeads
	// Secrets is of those as well.
	Secrets
)

// RefusalError is why a user does not get what was asked for.
type RefusalError struct {
	// Status is HTTP's: 401 for nobody in particular, 403 for who may not, 503 where it could not be found out.
	Status int
	// Message is one line for the user, with what to do.
	Message string
}

// Error implements error.
func (r *RefusalError) Error() string { return r.Message }

// Authorizer says whether the holder of a token may; its error is a *[RefusalError].
type Authorizer func(ctx context.Context, token string, p Permission) error

// API is what a replica of the control plane lets users ask, over HTTP. It belongs behind something that lets only local
// callers through, as a port-forward is.
type API struct {
	Hub *Hub
	// Authorize decides before anything is answered; nil lets every caller, where to get here is proof enough.
	Authorize Authorizer
	// Ready gives "" once the replica knows the cluster, or what is missing.
	Ready func() string
	// Views answer GET requests below PathViews, by the rest of the path. Their query parameter "namespace" is the one that
	// must be allowed; without it, all.
	Views map[string]http.Handler
}

// maxQuery bounds a query, in bytes; writeTimeout the time in which a command must take a frame.
const (
	maxQuery     = 64 << 10
	writeTimeout = 10 * time.Second
)

// Handler serves the API.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathTap, a.tap)
	for name, view := range a.Views {
		mux.HandleFunc("GET "+PathViews+name, func(w http.ResponseWriter, r *http.Request) {
			if err := a.admit(r, Permission{View, r.URL.Query().Get("namespace")}); err != nil {
				refuse(w, err)
				return
			}
			view.ServeHTTP(w, r)
		})
	}
	return mux
}

// admit says why a request is not to be answered.
func (a *API) admit(r *http.Request, p Permission) error {
	if a.Authorize != nil {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err := a.Authorize(r.Context(), token, p); err != nil {
			return err
		}
	}
	if missing := a.Ready(); missing != "" {
		return &RefusalError{http.StatusServiceUnavailable, "the control plane is not ready: " + missing}
	}
	return nil
}

// refuse answers with the one line that an error is.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		status = refusal.Status
	} else if _, busy := errors.AsType[busyError](err); busy {
		status = http.StatusTooManyRequests
	}
	http.Error(w, err.Error(), status)
}

// readQuery reads and checks what a command asks.
func readQuery(r *http.Request) (*Query, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxQuery+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxQuery {
		return nil, fmt.Errorf("the query has more than %d bytes", maxQuery)
	}
	var q Query
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("the query is none: %w", err)
	}
	return &q, q.Check()
}

func (a *API) tap(w http.ResponseWriter, r *http.Request) {
	q, err := readQuery(r)
	if err != nil {
		refuse(w, err)
		return
	}
	p := Permission{TapHeads, q.Resource.Namespace}
	if q.Secrets {
		p.Kind = Secrets
	}
	if err := a.admit(r, p); err != nil {
		refuse(w, err)
		return
	}
	rc := http.NewResponseController(w)
	begun := false
	out := json.NewEncoder(w)
	err = a.Hub.Tap(r.Context(), q, func(f Frame) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := out.Encode(f); err != nil {
			return err
		}
		return rc.Flush()
	})
	if !begun {
		refuse(w, err)
	}
}
