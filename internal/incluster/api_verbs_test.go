package incluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

func (a *api) list(r *http.Request) object {
	kind := "List"
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		kind = "PartialObjectMetadataList"
	}
	items := []any{}
	for _, p := range slices.Sorted(maps.Keys(a.objects)) {
		if (collectionOf(p) == r.URL.Path || path.Dir(p) == r.URL.Path) && selected(r, path.Base(p)) && labelled(r, a.objects[p]) {
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

// labelled reports whether an object has the labels that are asked for.
func labelled(r *http.Request, o object) bool {
	wanted, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	has := labels.Set{}
	if meta, ok := o["metadata"].(object); ok {
		if list, ok := meta["labels"].(object); ok {
			for k, v := range list {
				has[k], _ = v.(string)
			}
		}
	}
	return err == nil && wanted.Matches(has)
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
	if path.Base(p) == "subjectaccessreviews" {
		spec, _ := o["spec"].(object)
		o["status"] = a.access(spec)
		return answer(http.StatusCreated, o)
	}
	name, _ := metaOf(o)["name"].(string)
	if generate, ok := metaOf(o)["generateName"].(string); ok && name == "" {
		name = generate + strconv.Itoa(a.version)
	}
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

// deleteVersion deletes an object where it is the one that the preconditions name.
func (a *api) deleteVersion(p string, body []byte) *http.Response {
	old, exists := a.objects[p]
	if !exists {
		return notFound(p)
	}
	var o object
	if err := json.Unmarshal(body, &o); len(body) > 0 && err != nil {
		return answer(http.StatusBadRequest, (&status{http.StatusBadRequest, "BadRequest", err.Error()}).object())
	}
	must, _ := o["preconditions"].(object)
	for name, value := range must {
		if metaOf(old)[name] != value {
			return answer(http.StatusConflict, (&status{http.StatusConflict, "Conflict", name + " is another one"}).object())
		}
	}
	a.remove(p)
	return answer(http.StatusOK, old)
}

func (a *api) patch(p, contentType string, body []byte) *http.Response {
	if path.Base(path.Dir(path.Dir(p))) == "serviceimports" {
		p = strings.TrimSuffix(p, "/status")
	}
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
		o = merge(clone(cmpOr(old, object{})), o)
		if path.Base(path.Dir(p)) == "services" {
			o["spec"].(object)["clusterIPs"] = []any{"10.96.0.1"}
		}
		return answer(http.StatusOK, a.store(p, o))
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

// isIn reports whether an event is about an object of a collection, which may be that of one namespace.
func (e event) isIn(collection string) bool {
	one := collection + "/name"
	ns := namespaceOf(one)
	return e.collection == collectionOf(one) && (ns == "" || ns == metaOf(e.object)["namespace"])
}

func (a *api) stream(r *http.Request, w io.Writer, from int) error {
	encoder := json.NewEncoder(w)
	for {
		a.mu.Lock()
		var news []event
		next, _ := slices.BinarySearchFunc(a.events, from+1, func(e event, v int) int { return cmp.Compare(e.version, v) })
		for _, e := range a.events[next:] {
			if e.isIn(r.URL.Path) && selected(r, e.name) {
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
