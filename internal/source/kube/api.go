package kube

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/config"
)

const (
	// pageSize is how many objects one request lists: a page of pods is a few megabytes before it is stripped.
	pageSize = 500
	// requestTimeout bounds every request but watches.
	requestTimeout = time.Minute

	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
)

// api speaks to one API server. Safe for concurrent use.
type api struct {
	client *rest.RESTClient
	http   *http.Client
	scheme *runtime.Scheme
	host   string
}

// newAPI reads certificates and tokens where the config names files.
func newAPI(server *rest.Config, list []config.Kind) (*api, error) {
	scheme, err := newScheme(list)
	if err != nil {
		return nil, err
	}
	c := rest.CopyConfig(server)
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = jsonType
	c.QPS = -1 // nothing here makes many requests but the Writer, which has a limit of its own
	c.WarningHandler = rest.NoWarnings{}
	if c.UserAgent == "" {
		c.UserAgent = "fairlead-controller"
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("the API server's credentials: %w", err)
	}
	out, err := rest.UnversionedRESTClientForConfigAndClient(c, client)
	if err != nil {
		return nil, fmt.Errorf("the address of the API server: %w", err)
	}
	return &api{client: out, http: client, scheme: scheme, host: server.Host}, nil
}

// close ends idle connections.
func (a *api) close() { a.http.CloseIdleConnections() }

// accept gives the wire format of a kind; suffix is "List" for lists.
func accept(k *config.Kind, suffix string) string {
	switch k.Form {
	case config.Whole:
		return protobufType + "," + jsonType
	case config.MetadataOnly:
		as := ";as=PartialObjectMetadata" + suffix + ";g=meta.k8s.io;v=v1"
		return protobufType + as + "," + jsonType + as
	case config.Custom, config.FilesOnly:
	}
	return jsonType
}

// list gets one page of the newest state, or the next one of the state that token stands for.
func (a *api) list(ctx context.Context, k *config.Kind, version, token string) (runtime.Object, error) { //nolint:ireturn // a list of whatever the kind is
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	of := schema.GroupVersionKind{Group: k.Group, Version: version, Kind: k.Name + "List"}
	if k.Form == config.MetadataOnly {
		of = metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList")
	}
	out, err := a.scheme.New(of)
	if err != nil {
		return nil, err
	}
	r := a.objects(k, version).SetHeader("Accept", accept(k, "List")).Param("limit", strconv.Itoa(pageSize))
	if token != "" {
		r.Param("continue", token)
	}
	return out, r.Do(ctx).Into(out)
}

// watch gets changes after a resourceVersion for at most that long.
func (a *api) watch(ctx context.Context, k *config.Kind, version, after string, most time.Duration) (watch.Interface, error) { //nolint:ireturn // client-go gives no other
	return a.objects(k, version).SetHeader("Accept", accept(k, "")).Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersion", after).Param("timeoutSeconds", strconv.Itoa(int(most.Seconds()))).Watch(ctx)
}

func (a *api) objects(k *config.Kind, version string) *rest.Request {
	r := a.get(k.Path(version))
	if k.Selector != "" {
		r.Param("fieldSelector", k.Selector)
	}
	return r
}

// get begins a request. Trying again is for whoever makes it, who knows how long to wait.
func (a *api) get(path string) *rest.Request { return a.client.Get().AbsPath(path).MaxRetries(0) }

// offers asks which kinds a version of a group has: none where it does not exist.
func (a *api) offers(ctx context.Context, group, version string) (map[string]struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var list metav1.APIResourceList
	err := a.get("/apis/"+group+"/"+version).SetHeader("Accept", jsonType).Do(ctx).Into(&list)
	if apierrors.IsNotFound(err) {
		return map[string]struct{}{}, nil
	}
	if err != nil {
		return nil, err
	}
	offered := make(map[string]struct{}, len(list.APIResources))
	for i := range list.APIResources {
		offered[list.APIResources[i].Kind] = struct{}{}
	}
	return offered, nil
}

// discard reads the rest of a watch, so that its goroutine has ended.
func discard(w watch.Interface) {
	w.Stop()
	for range w.ResultChan() {
	}
}
