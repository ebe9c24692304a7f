package incluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
		"secrets", "configmaps", "namespaces", "pods", "leases", "tokenreviews",
		"mutatingwebhookconfigurations", "validatingwebhookconfigurations",
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

func (a *api) list(r *http.Request) object {
	kind := "List"
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		kind = "PartialObjectMetadataList"
	}
	items := []any{}
	for _, p := range slices.Sorted(maps.Keys(a.objects)) {
		if (collectionOf(p) == r.URL.Path || path.Dir(p) == r.URL.Path) && selected(r, path.Base(p)) {
			items = append(items, shape(r, a.objects[p]))
		}
	}
	out := object{"apiVersion": "v1", "kind": kind, "metadata": object{"resourceVersion": strconv.Itoa(a.version)}, "items": items}
	if kind == "List" {
		delete(out, "kind") // the client knows what it asked for
		delete(out, "apiVersion")
	} else {
		out["apiVersion"] = "meta.k8s.io/v1"
	}
	return out
}

func selected(r *http.Request, name string) bool {
	s := r.URL.Query().Get("fieldSelector")
	return s == "" || s == "metadata.name="+name
}

// shape leaves only the metadata where that was asked for.
func shape(r *http.Request, o object) object {
	if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return o
	}
	return object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}
}

func (a *api) create(p string, body []byte) *http.Response {
	var o object
	if err := json.Unmarshal(body, &o); err != nil {
		return answer(http.StatusBadRequest, (&status{http.StatusBadRequest, "BadRequest", err.Error()}).object())
	}
	if path.Base(p) == "tokenreviews" {
		spec, _ := o["spec"].(object)
		o["status"] = a.review(spec)
		return answer(http.StatusCreated, o)
	}
	name, _ := metaOf(o)["name"].(string)
	p += "/" + name
	if _, exists := a.objects[p]; exists {
		return answer(http.StatusConflict, (&status{http.StatusConflict, "AlreadyExists", name + " already exists"}).object())
	}
	return answer(http.StatusCreated, a.store(p, o))
}

func (a *api) update(p string, body []byte) *http.Response {
	old, exists := a.objects[p]
	var o object
	if err := json.Unmarshal(body, &o); err != nil || !exists {
		return notFound(p)
	}
	if metaOf(o)["resourceVersion"] != metaOf(old)["resourceVersion"] {
		return answer(http.StatusConflict, (&status{http.StatusConflict, "Conflict", "the object has been modified"}).object())
	}
	return answer(http.StatusOK, a.store(p, o))
}

func (a *api) patch(p, contentType string, body []byte) *http.Response {
	old, exists := a.objects[p]
	switch contentType {
	case "application/apply-patch+yaml":
		var o object
		if err := json.Unmarshal(body, &o); err != nil {
			return answer(http.StatusBadRequest, (&status{http.StatusBadRequest, "BadRequest", err.Error()}).object())
		}
		if ns := a.objects["/api/v1/namespaces/"+namespaceOf(p)]; ns != nil && metaOf(ns)["deletionTimestamp"] != nil && !exists {
			s := (&status{http.StatusForbidden, "Forbidden", "the namespace is being terminated"}).object()
			s["details"] = object{"causes": []any{object{"reason": "NamespaceTerminating"}}}
			return answer(http.StatusForbidden, s)
		}
		return answer(http.StatusOK, a.store(p, merge(clone(cmpOr(old, object{})), o)))
	case "application/json-patch+json":
		if !exists {
			return notFound(p)
		}
		o, err := applyOperations(clone(old), body)
		if err != nil {
			return answer(http.StatusUnprocessableEntity, (&status{http.StatusUnprocessableEntity, "Invalid", err.Error()}).object())
		}
		return answer(http.StatusOK, a.store(p, o))
	}
	return answer(http.StatusUnsupportedMediaType, (&status{http.StatusUnsupportedMediaType, "UnsupportedMediaType", contentType}).object())
}

func cmpOr(o, other object) object {
	if o != nil {
		return o
	}
	return other
}

// merge lays the fields of patch over those of o, as an apply by an owner with force does.
func merge(o, patch object) object {
	for k, v := range patch {
		if sub, ok := v.(object); ok {
			have, _ := o[k].(object)
			o[k] = merge(cmpOr(have, object{}), sub)
			continue
		}
		o[k] = v
	}
	return o
}

// applyOperations knows test and add of RFC 6902, on members of objects.
func applyOperations(o object, body []byte) (object, error) {
	var operations []operation
	if err := json.Unmarshal(body, &operations); err != nil {
		return nil, err
	}
	for _, op := range operations {
		var at any = o
		steps := strings.Split(strings.TrimPrefix(op.Path, "/"), "/")
		for _, step := range steps[:len(steps)-1] {
			switch v := at.(type) {
			case object:
				at = v[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i >= len(v) {
					return nil, fmt.Errorf("no element %s", step)
				}
				at = v[i]
			}
		}
		member, ok := at.(object)
		if !ok {
			return nil, fmt.Errorf("nothing at %s", op.Path)
		}
		last := steps[len(steps)-1]
		switch op.Op {
		case "test":
			if member[last] != op.Value {
				return nil, fmt.Errorf("%s is %v", op.Path, member[last])
			}
		case "add":
			member[last] = op.Value
		default:
			return nil, fmt.Errorf("operation %s is not known here", op.Op)
		}
	}
	return o, nil
}

// watch streams events from a version on until the client goes.
func (a *api) watch(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	from, err := strconv.Atoi(cmp.Or(q.Get("resourceVersion"), "0"))
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	go func() { // ends with the request, which the client cancels when it stops watching
		pw.CloseWithError(a.stream(r, pw, from))
	}()
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 2, Body: pr, ContentLength: -1,
		Header: http.Header{"Content-Type": {"application/json"}},
	}, nil
}

func (a *api) stream(r *http.Request, w io.Writer, from int) error {
	encoder := json.NewEncoder(w)
	for {
		a.mu.Lock()
		var news []event
		next, _ := slices.BinarySearchFunc(a.events, from+1, func(e event, v int) int { return cmp.Compare(e.version, v) })
		for _, e := range a.events[next:] {
			if e.collection == r.URL.Path && selected(r, e.name) {
				news = append(news, e)
			}
		}
		changed := a.changed
		from = a.version
		a.mu.Unlock()
		for _, e := range news {
			if err := encoder.Encode(object{"type": e.kind, "object": shape(r, e.object)}); err != nil {
				return err
			}
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-changed:
		}
	}
}

// logs collects log lines: "LEVEL message key=value …" without the time.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.b.String())
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// with gives the lines that contain all words.
func (l *logs) with(words ...string) []string {
	var out []string
	for _, line := range l.lines() {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			out = append(out, line)
		}
	}
	return out
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}}))
}

// background runs f until the test, or the returned function, ends it.
func background(tb testing.TB, f func(ctx context.Context)) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	tb.Cleanup(stop)
	return stop
}

// short is longer than what happens at once in a bubble takes, and shorter than every pause.
const short = 10 * time.Millisecond
