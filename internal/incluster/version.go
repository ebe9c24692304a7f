package incluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	apiversion "k8s.io/apimachinery/pkg/version"

	"fairlead.dev/fairlead/internal/apiserver"
)

// The first version in which init containers with restartPolicy Always work without a feature gate (KEP-753, beta).
const nativeMajor, nativeMinor = 1, 29

// NativeSidecars reports whether the cluster runs sidecars as init containers that stay: whether its API server is of
// version 1.29 or later. Kubelets may be up to three minor versions older (Kubernetes version skew policy) and then
// wait for such a container to end; a cluster with kubelets below 1.29 needs the injector's nativeSidecar: "false".
func NativeSidecars(ctx context.Context, c *Client) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.general.Do(ctx, apiserver.Request{Path: "/version", Retries: patience})
	if err != nil {
		return false, explain(err, "get", target{resource: resource{name: "version of the API server"}})
	}
	var v apiversion.Info
	if err := answer.Into(&v); err != nil {
		return false, fmt.Errorf("version of the API server: %w", err)
	}
	major, majorErr := strconv.Atoi(v.Major)
	minor, minorErr := strconv.Atoi(strings.TrimRight(v.Minor, "+")) // providers append a plus
	if majorErr != nil || minorErr != nil {
		return false, fmt.Errorf("version of the API server: major %q, minor %q: not numbers", v.Major, v.Minor)
	}
	return major > nativeMajor || (major == nativeMajor && minor >= nativeMinor), nil
}
