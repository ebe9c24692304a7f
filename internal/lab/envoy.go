package lab

import (
	"errors"
	"fmt"
	"os"
)

// envoyBinary is the Envoy of the user's, as pods see it.
const envoyBinary = "envoy"

// proxyKey is the annotation that says what a pod's sidecar is.
const proxyKey = "fairlead.dev/proxy"

// wantsEnvoy reads the annotation. The error names a value that means nothing.
func wantsEnvoy(annotations map[string]string) (bool, error) {
	switch v := annotations[proxyKey]; v {
	case "", "fairlead":
		return false, nil
	case "envoy":
		return true, nil
	default:
		return false, fmt.Errorf("annotation %s: %q is no proxy; write envoy or fairlead", proxyKey, v)
	}
}

// checkEnvoy says why there can be no Envoy here.
func (n *node) checkEnvoy(spec *podSpec) error {
	if !spec.envoy {
		return nil
	}
	if !n.cfg.Rootful {
		return fmt.Errorf("annotation %s: envoy needs a lab that root has started: an Envoy's connections are told from the app's by its user", proxyKey)
	}
	if _, err := os.Stat(n.state.path("bin", envoyBinary)); err != nil {
		return errors.New("annotation " + proxyKey + ": envoy: this lab has no Envoy; say where one is: fairlead lab up --envoy PATH, or ENVOY=PATH")
	}
	return nil
}

// envoyArgs are those of a sidecar that is an Envoy, beside the ones that every sidecar has.
func envoyArgs() []string {
	return []string{"--program", runDir + "/bin/" + envoyBinary, "--dir", runDir + "/data/envoy", "--concurrency", "1", "--cluster-domain", clusterDomain}
}
