package incluster

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// PublishedRoots gives the mesh's own roots as the leader has handed them out, PEM, and the number of that version: both are of the
// ConfigMap RootCertConfigMap in the namespace, so that all replicas say the same. The number is the object's resourceVersion, which the API
// server raises with each write, also where the object is made anew.
func PublishedRoots(ctx context.Context, c *Client, namespace string) (pem []byte, version uint64, err error) {
	t := target{resource: configMaps(), namespace: namespace, name: RootCertConfigMap}
	var list corev1.ConfigMapList
	if err := c.list(ctx, t, &list); err != nil {
		return nil, 0, err
	}
	if len(list.Items) != 1 || list.Items[0].Data[RootCertKey] == "" {
		return nil, 0, fmt.Errorf("%s has no %s yet", t, RootCertKey)
	}
	m := &list.Items[0]
	version, err = strconv.ParseUint(m.ResourceVersion, 10, 63)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: resourceVersion %q is no number, as those of Kubernetes are", t, m.ResourceVersion)
	}
	return []byte(m.Data[RootCertKey]), version, nil
}
