package incluster

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/apiserver"
)

// callTimeout bounds one request, retries that the API server asks for included. Watches have no bound.
const callTimeout = 10 * time.Second

// fieldManager is the owner of what is applied, in metadata.managedFields.
const fieldManager = "fairlead-controller"

// patience is how often a request is made again because the API server says when.
const patience = 10

// Client speaks with the API server about the few kinds this package deals with. It is safe for concurrent use.
type Client struct {
	general *apiserver.Client
	// lease and reviews do not stand in line with everything else: a lease that is renewed late is lost, and sidecars
	// wait for reviews, whose number TokenReviewer bounds.
	lease, reviews *apiserver.Client
}

// NewClient takes what Config gives. It sends nothing.
func NewClient(config *rest.Config) (*Client, error) {
	all, err := apiserver.New(config)
	if err != nil {
		return nil, err
	}
	perSecond, burst := cmp.Or(config.QPS, requestsPerSecond), cmp.Or(config.Burst, requestsBurst)
	return &Client{general: all.Limited(perSecond, burst), lease: all.Limited(perSecond, burst), reviews: all}, nil
}

// resource is a kind of object as URLs and RBAC rules name it, and as it names itself.
type resource struct{ group, version, name, kind string }

func secrets() resource    { return resource{"", "v1", "secrets", "Secret"} }
func configMaps() resource { return resource{"", "v1", "configmaps", "ConfigMap"} }
func pods() resource       { return resource{"", "v1", "pods", "Pod"} }
func namespaces() resource { return resource{"", "v1", "namespaces", "Namespace"} }
func services() resource   { return resource{"", "v1", "services", "Service"} }
func events() resource     { return resource{"", "v1", "events", "Event"} }
func endpointSlices() resource {
	return resource{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"}
}
func leases() resource { return resource{"coordination.k8s.io", "v1", "leases", "Lease"} }
func tokenReviews() resource {
	return resource{"authentication.k8s.io", "v1", "tokenreviews", "TokenReview"}
}

func mutatingWebhooks() resource {
	return resource{"admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"}
}

func validatingWebhooks() resource {
	return resource{"admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"}
}

// target is an object, or with an empty name a collection. The namespace is empty for what is in none, and for a
// collection across all of them.
type target struct {
	resource

	namespace, name string
	// labels is a label selector for a collection, or empty.
	labels string
	// ofType is a field selector for a collection by the type of Secrets, or empty.
	ofType string
	// sub is a subresource of the object ("status"), or empty.
	sub string
}

func (t target) path() string {
	prefix := "/apis/" + t.group + "/" + t.version
	if t.group == "" {
		prefix = "/api/" + t.version
	}
	path := apiserver.Path(prefix, t.namespace, t.resource.name, t.name)
	if t.sub != "" {
		path += "/" + t.sub
	}
	return path
}

// collection is what the object is in, across all namespaces where it names none.
func (t target) collection() target {
	t.name = ""
	return t
}

// selector is a field selector for the object, or nothing for a collection. RBAC compares it with resourceNames, so that
// the permission can be for one name.
func (t target) selector() string {
	switch {
	case t.name == "" && t.ofType != "":
		return fields.OneTermEqualSelector("type", t.ofType).String()
	case t.name == "":
		return ""
	}
	return fields.OneTermEqualSelector("metadata.name", t.name).String()
}

// rule is what RBAC calls the resource.
func (t target) rule() string {
	if t.sub == "" {
		return t.resource.name
	}
	return t.resource.name + "/" + t.sub
}

// String names the object the way kubectl does.
func (t target) String() string {
	s := t.rule()
	if t.name != "" {
		s += " " + t.name
	}
	if t.namespace != "" {
		s += " in namespace " + t.namespace
	}
	return s
}

func (c *Client) get(ctx context.Context, t target, into runtime.Object) error {
	return c.do(ctx, "get", t, apiserver.Request{}, into)
}

// list reads the one object that t names, as a list that is empty where there is none: the permission to list is there
// for all pods, that to get is not. Where it names none it reads those with its labels.
func (c *Client) list(ctx context.Context, t target, into runtime.Object) error {
	return c.do(ctx, "list", t.collection(), apiserver.Request{Query: url.Values{"fieldSelector": {t.selector()}, "labelSelector": {t.labels}}}, into)
}

// create makes an object and replaces obj with what the API server made of it.
func (c *Client) create(ctx context.Context, t target, obj runtime.Object) error {
	return c.write(ctx, "create", http.MethodPost, t.collection(), obj)
}

// update replaces an object if its resource version is still that of obj, which becomes what the API server made of it.
func (c *Client) update(ctx context.Context, t target, obj runtime.Object) error {
	return c.write(ctx, "update", http.MethodPut, t, obj)
}

func (c *Client) write(ctx context.Context, verb, method string, t target, obj runtime.Object) error {
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: t.group, Version: t.version, Kind: t.kind})
	body, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	return c.do(ctx, verb, t, apiserver.Request{Method: method, Body: body}, obj)
}

func (c *Client) patch(ctx context.Context, t target, kind types.PatchType, patch []byte) error {
	return c.do(ctx, "patch", t, apiserver.Request{
		Method: http.MethodPatch, ContentType: string(kind), Body: patch, Query: url.Values{"fieldManager": {fieldManager}},
	}, nil)
}

// apply makes or changes an object such that it has the fields of patch (server-side apply), whatever owned them.
func (c *Client) apply(ctx context.Context, t target, patch []byte) error {
	return c.do(ctx, "patch", t, apiserver.Request{
		Method: http.MethodPatch, ContentType: string(types.ApplyPatchType), Body: patch,
		Query: url.Values{"fieldManager": {fieldManager}, "force": {"true"}},
	}, nil)
}

// applied is apply, and reads what became of the object.
func (c *Client) applied(ctx context.Context, t target, object, into runtime.Object) error {
	object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: t.group, Version: t.version, Kind: t.kind})
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.do(ctx, "patch", t, apiserver.Request{
		Method: http.MethodPatch, ContentType: string(types.ApplyPatchType), Body: body,
		Query: url.Values{"fieldManager": {fieldManager}, "force": {"true"}},
	}, into)
}

// remove deletes an object, and is content where there is none.
func (c *Client) remove(ctx context.Context, t target) error {
	err := c.do(ctx, "delete", t, apiserver.Request{Method: http.MethodDelete}, nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Client) do(ctx context.Context, verb string, t target, r apiserver.Request, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r.Path, r.Retries = t.path(), patience
	answer, err := c.client(t).Do(ctx, r)
	if err == nil && into != nil {
		err = answer.Into(into)
	}
	return explain(err, verb, t)
}

func (c *Client) client(t target) *apiserver.Client {
	switch t.resource {
	case leases():
		return c.lease
	case tokenReviews():
		return c.reviews
	}
	return c.general
}
