package incluster

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeconfigPlugins says whether kubeconfigs of other clusters may have the control plane run programs or read files.
type KubeconfigPlugins bool

// The two ways.
const (
	RefusePlugins KubeconfigPlugins = false
	AllowPlugins  KubeconfigPlugins = true
)

// maxKubeconfig bounds a kubeconfig; what Secrets may hold is as much.
const maxKubeconfig = 1 << 20

// RemoteConfig says how to reach the API server of another cluster, by a kubeconfig that came from a Secret or a file. Whoever
// may write it could otherwise have the control plane run any program, or send what is in any of its files to a server of their
// choice, so that what leads outside the text is refused, as in Istio, unless allowed. It sends nothing.
func RemoteConfig(text []byte, plugins KubeconfigPlugins) (*rest.Config, error) {
	if len(text) > maxKubeconfig {
		return nil, fmt.Errorf("the kubeconfig is larger than %d bytes", maxKubeconfig)
	}
	raw, err := clientcmd.Load(text)
	if runtime.IsNotRegisteredError(err) {
		return nil, errors.New("it is no kubeconfig, which says apiVersion: v1 and kind: Config")
	}
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be read: %w", err)
	}
	if len(raw.Clusters) == 0 {
		return nil, errors.New("the kubeconfig has no cluster")
	}
	if plugins == RefusePlugins {
		if err := selfContained(raw); err != nil {
			return nil, err
		}
	}
	c, err := clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{}).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("the kubeconfig has no current-context with a cluster in it")
	case err != nil:
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w", err)
	}
	c.QPS, c.Burst = requestsPerSecond, requestsBurst
	c.UserAgent = "fairlead-controller/" + version()
	return c, nil
}

// selfContained refuses what leads outside a kubeconfig.
func selfContained(c *clientapi.Config) error {
	for name, u := range c.AuthInfos {
		for _, x := range []struct{ field, value string }{
			{"exec", execOf(u)},
			{"auth-provider", providerOf(u)},
			{"tokenFile", u.TokenFile},
			{"client-certificate", u.ClientCertificate},
			{"client-key", u.ClientKey},
		} {
			if x.value != "" {
				return fmt.Errorf("user %q of the kubeconfig: %s %q is not allowed: write the credentials themselves (token, client-certificate-data), or allow it with --allow-kubeconfig-plugins",
					name, x.field, x.value)
			}
		}
	}
	for name, s := range c.Clusters {
		if s.CertificateAuthority != "" {
			return fmt.Errorf("cluster %q of the kubeconfig: certificate-authority %q is not allowed: write certificate-authority-data", name, s.CertificateAuthority)
		}
	}
	return nil
}

func execOf(u *clientapi.AuthInfo) string {
	if u.Exec == nil {
		return ""
	}
	return u.Exec.Command
}

func providerOf(u *clientapi.AuthInfo) string {
	if u.AuthProvider == nil {
		return ""
	}
	return u.AuthProvider.Name
}
