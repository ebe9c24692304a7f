package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/config"
)

// fakeServer speaks as much of the Kubernetes API as the package uses, in JSON.
type fakeServer struct {
	*httptest.Server

	mu        sync.Mutex // guards everything below
	revision  int
	objects   map[string]map[string]any // by path of the collection, then by "namespace/name"
	events    []fakeEvent
	compacted int                 // watches from before this revision are too old
	groups    map[string][]string // "group/version" -> kinds
	denied    map[string]int      // path -> HTTP status of the answer
	page      int                 // objects per page; 0 is all
	expire    bool                // the next continuation is too old
	changed   chan struct{}       // closed at the next change
	cut       chan struct{}       // closed to end all watches
	requests  []string            // "LIST path?query", "WATCH ...", "PATCH ..."
	patches   []string
	onGet     func() // called before an object is read
}

type fakeEvent struct {
	path, kind string
	revision   int
	object     any
}

func newFake(t *testing.T) *fakeServer {
	t.Helper()
	f := &fakeServer{
		revision: 100, objects: map[string]map[string]any{}, groups: map[string][]string{}, denied: map[string]int{},
		changed: make(chan struct{}), cut: make(chan struct{}),
	}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		f.disconnect()
		f.Close()
	})
	return f
}

func (f *fakeServer) config() *rest.Config { return &rest.Config{Host: f.URL} }

// serve the versions of custom groups, such as "networking.istio.io/v1".
func (f *fakeServer) offer(groupVersion string, kinds ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.groups[groupVersion] = kinds
}

func (f *fakeServer) withdraw(groupVersion string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.groups, groupVersion)
}

// put adds or changes an object, written in YAML.
func (f *fakeServer) put(t *testing.T, path, text string) {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store(path, o)
}

func (f *fakeServer) store(path string, o map[string]any) {
	kind, key := "MODIFIED", keyOfJSON(o)
	if f.objects[path] == nil {
		f.objects[path] = map[string]any{}
	}
	if f.objects[path][key] == nil {
		kind = "ADDED"
	}
	f.objects[path][key] = o
	f.record(path, kind, o)
}

func (f *fakeServer) remove(path, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, _ := f.objects[path][key].(map[string]any)
	delete(f.objects[path], key)
	f.record(path, "DELETED", o)
}

func (f *fakeServer) record(path, kind string, o map[string]any) {
	f.revision++
	o = maps.Clone(o)
	meta := maps.Clone(metaOfJSON(o))
	meta["resourceVersion"] = strconv.Itoa(f.revision)
	o["metadata"] = meta
	if kind != "DELETED" {
		f.objects[path][keyOfJSON(o)] = o
	}
	f.events = append(f.events, fakeEvent{path: path, kind: kind, revision: f.revision, object: o})
	close(f.changed)
	f.changed = make(chan struct{})
}

// bookmark tells watches of a path the present revision.
func (f *fakeServer) bookmark(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record(path, "BOOKMARK", map[string]any{"kind": "Service", "apiVersion": "v1", "metadata": map[string]any{}})
	delete(f.objects[path], "/")
}

// disconnect ends all watches.
func (f *fakeServer) disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.cut)
	f.cut = make(chan struct{})
}

// compact makes every revision so far too old.
func (f *fakeServer) compact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	f.compacted = f.revision
}

// answer makes a path answer with a status; 0 takes it back.
func (f *fakeServer) answer(path string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied[path] = status
}

func (f *fakeServer) seen(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	path, query := r.URL.Path, r.URL.Query()
	segments := strings.Split(strings.Trim(path, "/"), "/")
	f.mu.Lock()
	status := f.denied[path]
	f.mu.Unlock()
	switch {
	case status != 0:
		f.note("REFUSED", r)
		fail(w, status, path)
	case r.Method == http.MethodPatch:
		f.note("PATCH", r)
		f.patch(w, r, segments)
	case segments[0] == "apis" && len(segments) == 3:
		f.discover(w, segments[1]+"/"+segments[2])
	case len(segments) > 5 && strings.Contains(path, "/namespaces/"):
		f.note("GET", r)
		f.get(w, segments)
	case query.Get("watch") == "true":
		f.note("WATCH", r)
		f.watch(w, r)
	default:
		f.note("LIST", r)
		f.list(w, r)
	}
}

func (f *fakeServer) note(verb string, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, verb+" "+r.URL.RequestURI())
}

func (f *fakeServer) discover(w http.ResponseWriter, groupVersion string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds, ok := f.groups[groupVersion]
	if !ok {
		fail(w, http.StatusNotFound, groupVersion)
		return
	}
	var resources []any
	for _, k := range kinds {
		resources = append(resources, map[string]any{"kind": k, "name": strings.ToLower(k) + "s"})
	}
	send(w, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion, "resources": resources})
}

// custom reports whether the path's group is offered, where it must be.
func (f *fakeServer) absent(path string) bool {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if segments[0] != "apis" || segments[1] == "discovery.k8s.io" {
		return false
	}
	_, ok := f.groups[segments[1]+"/"+segments[2]]
	return !ok
}

func (f *fakeServer) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := r.URL.Path
	if f.absent(path) {
		fail(w, http.StatusNotFound, path)
		return
	}
	token := r.URL.Query().Get("continue")
	if token != "" && f.expire {
		f.expire = false
		fail(w, http.StatusGone, path)
		return
	}
	keys := slices.Sorted(maps.Keys(f.objects[path]))
	keys = slices.DeleteFunc(keys, func(k string) bool { return !selected(r, f.objects[path][k]) })
	keys = slices.DeleteFunc(keys, func(k string) bool { return token != "" && k <= token })
	next := ""
	if f.page > 0 && len(keys) > f.page {
		keys = keys[:f.page]
		next = keys[len(keys)-1]
	}
	items := []any{}
	for _, k := range keys {
		items = append(items, narrow(r, f.objects[path][k]))
	}
	out := map[string]any{
		"kind": listKinds()[segment(path, -1)], "apiVersion": strings.TrimPrefix(strings.TrimPrefix(path[:strings.LastIndex(path, "/")], "/apis/"), "/api/"), "items": items,
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(f.revision), "continue": next},
	}
	if isNarrow(r) {
		out["kind"], out["apiVersion"] = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	send(w, out)
}

func segment(path string, i int) string {
	all := strings.Split(path, "/")
	return all[len(all)+i]
}

func listKinds() map[string]string {
	names := map[string]string{}
	for _, k := range config.Kinds() {
		names[k.Resource] = k.Name + "List"
	}
	return names
}

func (f *fakeServer) watch(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	f.mu.Lock()
	if f.absent(r.URL.Path) {
		f.mu.Unlock()
		fail(w, http.StatusNotFound, r.URL.Path)
		return
	}
	old, cut := after < f.compacted, f.cut
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	if old {
		_ = out.Encode(map[string]any{"type": "ERROR", "object": failure(http.StatusGone, "too old resource version")})
		return
	}
	for {
		f.mu.Lock()
		var due []fakeEvent
		for _, e := range f.events {
			if e.path == r.URL.Path && e.revision > after && selected(r, e.object) {
				due = append(due, e)
			}
		}
		changed := f.changed
		after = f.revision
		f.mu.Unlock()
		for _, e := range due {
			_ = out.Encode(map[string]any{"type": e.kind, "object": narrow(r, e.object)})
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// find splits .../namespaces/NS/resource/NAME[/status] into the collection's path and the object's key.
func find(segments []string) (path, key string) {
	return "/" + strings.Join(append(slices.Clone(segments[:3]), segments[5]), "/"), segments[4] + "/" + segments[6]
}

func (f *fakeServer) get(w http.ResponseWriter, segments []string) {
	if f.onGet != nil {
		defer f.onGet()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path, key := find(segments)
	o, ok := f.objects[path][key]
	if !ok {
		fail(w, http.StatusNotFound, key)
		return
	}
	send(w, o)
}

func (f *fakeServer) patch(w http.ResponseWriter, r *http.Request, segments []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path, key := find(segments)
	o, ok := f.objects[path][key].(map[string]any)
	if !ok {
		fail(w, http.StatusNotFound, key)
		return
	}
	text, _ := io.ReadAll(r.Body)
	var p struct {
		Metadata struct{ ResourceVersion string }
		Status   map[string]any
	}
	if err := json.Unmarshal(text, &p); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		fail(w, http.StatusBadRequest, key)
		return
	}
	if p.Metadata.ResourceVersion != metaOfJSON(o)["resourceVersion"] {
		fail(w, http.StatusConflict, key)
		return
	}
	f.patches = append(f.patches, string(text))
	o = maps.Clone(o)
	status, _ := o["status"].(map[string]any)
	status = maps.Clone(status)
	if status == nil {
		status = map[string]any{}
	}
	for name, value := range p.Status {
		status[name] = value
		if value == nil {
			delete(status, name)
		}
	}
	o["status"] = status
	f.store(path, o)
	send(w, o)
}

// selected reports whether a request is about an object, as far as its field selector is about a name.
func selected(r *http.Request, o any) bool {
	name, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	full, _ := o.(map[string]any)
	return !ok || metaOfJSON(full)["name"] == name
}

func isNarrow(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
}

// narrow leaves the metadata, where that is what was asked for.
func narrow(r *http.Request, o any) any {
	if !isNarrow(r) {
		return o
	}
	full, _ := o.(map[string]any)
	return map[string]any{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": full["metadata"]}
}

func metaOfJSON(o map[string]any) map[string]any {
	meta, _ := o["metadata"].(map[string]any)
	return meta
}

func keyOfJSON(o map[string]any) string {
	meta := metaOfJSON(o)
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	return namespace + "/" + name
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func failure(code int, message string) map[string]any {
	reason := map[int]string{
		http.StatusGone: "Expired", http.StatusForbidden: "Forbidden", http.StatusNotFound: "NotFound", http.StatusConflict: "Conflict",
		http.StatusServiceUnavailable: "ServiceUnavailable", http.StatusInternalServerError: "InternalError",
	}[code]
	return map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}
}

func fail(w http.ResponseWriter, code int, of string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure(code, fmt.Sprintf("%s: %s", of, http.StatusText(code))))
}
