package incluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// api is a small API server: it keeps objects as JSON by path and knows create, get, list, update, the patches that
// this package sends, resource versions, watches from a version on, and metadata.name as a field selector. It is
// reached without sockets, so that tests can run in a synctest bubble. Where it does less than a real one it answers
// an error.
type api struct {
	tb testing.TB

	mu       sync.Mutex
	version  int
	objects  map[string]object // by path, such as /api/v1/namespaces/a/secrets/b
	events   []event
	changed  chan struct{} // closed and replaced at each event
	requests map[string]int
	// intercept, where set, may answer a request instead; it returns nil to let it through.
	intercept func(verb, path string) *status
	// review answers token reviews.
	review func(spec object) object
	// access answers subject access reviews.
	access func(spec object) object
}

type object = map[string]any

type event struct {
	version    int
	collection string
	name       string
	kind       string // ADDED, MODIFIED, DELETED
	object     object
}

// status is an error answer. Code 0 is a connection that breaks.
type status struct {
	code            int
	reason, message string
}

func newAPI(tb testing.TB) *api {
	tb.Helper()
	return &api{tb: tb, version: 1, objects: make(map[string]object), changed: make(chan struct{}), requests: make(map[string]int)}
}

func (a *api) client() *Client {
	a.tb.Helper()
	c, err := NewClient(&rest.Config{Host: "https://api.example", Transport: a, QPS: requestsPerSecond, Burst: requestsBurst})
	if err != nil {
		a.tb.Fatal(err)
	}
	return c
}

// refuse has requests answered with an error; nil lets all through again.
func (a *api) refuse(f func(verb, path string) *status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.intercept = f
}

// forbid answers as RBAC does, to one verb on paths that end so.
func forbid(verb, suffix string) func(verb, path string) *status {
	return func(v, p string) *status {
		if v != verb || !strings.HasSuffix(p, suffix) {
			return nil
		}
		return &status{http.StatusForbidden, "Forbidden", `things is forbidden: User "system:serviceaccount:fairlead-system:fairlead-controller" cannot do that`}
	}
}

func away(_, _ string) *status { return &status{} }

func (a *api) count(verb, p string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[verb+" "+p]
}

func (a *api) get(p string) object {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects[p]
}

// put makes or replaces an object as a user would.
func (a *api) put(p string, o object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store(p, clone(o))
}

func (a *api) delete(p string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(p)
}

func (a *api) remove(p string) {
	o, ok := a.objects[p]
	if !ok {
		a.tb.Errorf("test deletes %s, which does not exist", p)
		return
	}
	delete(a.objects, p)
	a.emit("DELETED", p, o)
}

// store gives an object its metadata and tells the watchers. It reports whether anything changed.
func (a *api) store(p string, o object) object {
	old, exists := a.objects[p]
	if o["kind"] == nil {
		o["apiVersion"], o["kind"] = typeOf(p)
	}
	meta := metaOf(o)
	meta["name"] = path.Base(p)
	if ns := namespaceOf(p); ns != "" {
		meta["namespace"] = ns
	}
	if exists {
		meta["uid"] = metaOf(old)["uid"]
		meta["resourceVersion"] = metaOf(old)["resourceVersion"]
		if equal(o, old) {
			return old // writing the same is no change, as in a real API server
		}
	} else {
		meta["uid"] = fmt.Sprint("uid-", a.version)
	}
	kind := "ADDED"
	if exists {
		kind = "MODIFIED"
	}
	meta["resourceVersion"] = strconv.Itoa(a.version + 1)
	a.objects[p] = o
	a.emit(kind, p, o)
	return o
}

func typeOf(p string) (apiVersion, kind string) {
	switch path.Base(path.Dir(p)) {
	case "mutatingwebhookconfigurations":
		return "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"
	case "validatingwebhookconfigurations":
		return "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"
	case "leases":
		return "coordination.k8s.io/v1", "Lease"
	case "secrets":
		return "v1", "Secret"
	case "configmaps":
		return "v1", "ConfigMap"
	case "namespaces":
		return "v1", "Namespace"
	case "pods":
		return "v1", "Pod"
	case "services":
		return "v1", "Service"
	case "events":
		return "v1", "Event"
	case "endpointslices":
		return "discovery.k8s.io/v1", "EndpointSlice"
	case "serviceimports":
		return "multicluster.x-k8s.io/v1beta1", "ServiceImport"
	}
	panic("no kind at " + p)
}

func (a *api) emit(kind, p string, o object) {
	a.version++
	o = clone(o)
	metaOf(o)["resourceVersion"] = strconv.Itoa(a.version)
	a.events = append(a.events, event{a.version, collectionOf(p), path.Base(p), kind, o})
	close(a.changed)
	a.changed = make(chan struct{})
}

func metaOf(o object) object {
	meta, ok := o["metadata"].(object)
	if !ok {
		meta = object{}
		o["metadata"] = meta
	}
	return meta
}

func clone(o object) object {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

func equal(a, b object) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// namespaceOf gives the namespace of a path, "" for what is in none.
func namespaceOf(p string) string {
	_, rest, ok := strings.Cut(p, "/namespaces/")
	if parts := strings.Split(rest, "/"); ok && len(parts) > 1 {
		return parts[0]
	}
	return ""
}

// collectionOf gives the collection across all namespaces that a path belongs to.
func collectionOf(p string) string {
	dir := path.Dir(p)
	if ns := namespaceOf(p); ns != "" {
		return strings.Replace(dir, "/namespaces/"+ns, "", 1)
	}
	return dir
}

// RoundTrip implements http.RoundTripper.
func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	verb := verbOf(r)
	a.mu.Lock()
	a.requests[verb+" "+r.URL.Path]++
	intercept := a.intercept
	a.mu.Unlock()
	if intercept != nil {
		if s := intercept(verb, r.URL.Path); s != nil {
			if s.code == 0 {
				return nil, errors.New("connection refused")
			}
			return answer(s.code, s.object()), nil
		}
	}
	if verb == "watch" {
		return a.watch(r)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.serve(r, verb, body), nil
}

func verbOf(r *http.Request) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	switch {
	case r.URL.Query().Get("sendInitialEvents") != "":
		return "watchlist" // a list as the beginning of a watch, which this server does not know
	case r.URL.Query().Get("watch") != "":
		return "watch"
	case isCollection(r.URL.Path):
		return "list"
	}
	return "get"
}

// isCollection knows the plurals that are used here; names of objects end otherwise.
func isCollection(p string) bool {
	return slices.Contains([]string{
		"secrets", "configmaps", "namespaces", "pods", "leases", "tokenreviews", "subjectaccessreviews", "events",
		"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "services", "endpointslices", "serviceimports",
	}, path.Base(p))
}

func (s *status) object() object {
	return object{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": s.code, "reason": s.reason, "message": s.message}
}

func answer(code int, o object) *http.Response {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), ProtoMajor: 2,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(data)), ContentLength: int64(len(data)),
	}
}

func (a *api) serve(r *http.Request, verb string, body []byte) *http.Response {
	p := r.URL.Path
	if p == "/version" {
		return answer(http.StatusOK, a.objects[p])
	}
	old, exists := a.objects[p]
	switch verb {
	case "get":
		if !exists {
			return notFound(p)
		}
		return answer(http.StatusOK, old)
	case "watchlist":
		return answer(http.StatusUnprocessableEntity, (&status{http.StatusUnprocessableEntity, "Invalid", "no streaming lists"}).object())
	case "list":
		return answer(http.StatusOK, a.list(r))
	case "create":
		return a.create(p, body)
	case "delete":
		return a.deleteVersion(r.URL.Path, body)
	case "update":
		return a.update(p, body)
	case "patch":
		return a.patch(p, r.Header.Get("Content-Type"), body)
	}
	return answer(http.StatusMethodNotAllowed, (&status{http.StatusMethodNotAllowed, "MethodNotAllowed", verb}).object())
}

func notFound(p string) *http.Response {
	return answer(http.StatusNotFound, (&status{http.StatusNotFound, "NotFound", fmt.Sprintf("%s %q not found", path.Base(path.Dir(p)), path.Base(p))}).object())
}
