package incluster

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The rate of requests that one client makes, and how many at once after a pause. The API server's own fairness does
// the rest; client-go's defaults of 5 and 10 make a controller of 1,000 namespaces wait for minutes.
const (
	requestsPerSecond = 50
	requestsBurst     = 100
)

// Config says how to reach the API server: as the kubeconfig file says, or, with an empty name, from inside a pod.
// It reads files and sends nothing.
func Config(kubeconfig string) (*rest.Config, error) {
	c, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	c.QPS, c.Burst = requestsPerSecond, requestsBurst
	c.UserAgent = "fairlead-controller/" + version()
	return c, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		switch {
		case errors.Is(err, rest.ErrNotInCluster):
			return nil, errors.New("this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig file (--kubeconfig or KUBECONFIG)")
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("this pod has no service account token: set automountServiceAccountToken: true: %w", err)
		case err != nil:
			return nil, fmt.Errorf("credentials of the pod: %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("kubeconfig %s: no such file: check --kubeconfig and KUBECONFIG", kubeconfig)
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("kubeconfig %s: no current-context with a cluster in it: kubectl config use-context NAME", kubeconfig)
	case err != nil:
		return nil, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	return c, nil
}

// version is that of the module which the program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
