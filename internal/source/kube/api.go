package kube

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// requestTimeout bounds every request but watches.
const requestTimeout = time.Minute

// newClient reads certificates and tokens where the config names files.
func newClient(server *rest.Config) (*apiserver.Client, error) {
	named := rest.CopyConfig(server)
	if named.UserAgent == "" {
		named.UserAgent = "fairlead-controller"
	}
	return apiserver.New(named)
}

// collection says how the objects of a kind are asked for, or the one that only names. RBAC takes the selector of a name for that.
func collection(k *config.Kind, version string, only model.Key) apiserver.Collection {
	c := apiserver.Collection{Path: k.Path(version), Selector: k.Selector, MetadataOnly: k.Form == config.MetadataOnly}
	if k.Form == config.ByName {
		c.Path, c.Selector = apiserver.Path("/api/"+version, only.Namespace, k.Resource, ""), "metadata.name="+only.Name
	}
	if k.Form != config.Custom {
		c.Media = []string{apiserver.Protobuf, apiserver.JSON}
	}
	return c
}

// offers asks which kinds a version of a group has: none where it does not exist.
func offers(ctx context.Context, client *apiserver.Client, group, version string) (map[string]struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var list metav1.APIResourceList
	err := client.Get(ctx, "/apis/"+group+"/"+version, &list)
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
