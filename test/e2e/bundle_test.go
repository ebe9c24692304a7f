//go:build kube

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.dev/fairlead/internal/identity"
)

// publishedBundle is the number of a bundle, and how many roots are in it.
type publishedBundle struct {
	number uint64
	roots  int
}

// bundleAt has SPIFFE's own library fetch the bundle of the mesh's trust domain from a replica of the control plane, which has to prove to
// be the controller's account.
func bundleAt(t *testing.T, url string) (p publishedBundle, err error) {
	t.Helper()
	domain := spiffeid.RequireTrustDomainFromString("cluster.local")
	roots, err := identity.ParseRoots([]byte(control(t, "get", "configmap", "fairlead-ca-root-cert", "-o", `jsonpath={.data.root-cert\.pem}`)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := federation.FetchBundle(ctx, domain, url, federation.WithSPIFFEAuth(x509bundle.FromX509Authorities(domain, roots),
		spiffeid.RequireFromString("spiffe://cluster.local/ns/fairlead-system/sa/fairlead-controller")))
	if err != nil {
		return p, err
	}
	p.number, _ = b.SequenceNumber()
	p.roots = len(b.X509Authorities())
	return p, nil
}

// replicaNames are the pods of the control plane that run and are not about to end.
func replicaNames(t *testing.T) (names []string) {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string
				DeletionTimestamp string
			}
			Status struct{ Phase string }
		}
	}
	if err := json.Unmarshal([]byte(control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp == "" && p.Status.Phase == "Running" {
			names = append(names, p.Metadata.Name)
		}
	}
	return names
}

// TestOwnBundleNumber has an API server number the versions of the bundle that the mesh publishes: all replicas say the same, also those that
// replace them, and whatever becomes of the object that the number is of, it does not fall.
func TestOwnBundleNumber(t *testing.T) {
	t.Cleanup(func() { fairlead(t, "", "upgrade", "--set", "mesh.spiffeBundle.enabled=false") })
	fairlead(t, "", "upgrade", "--set", "mesh.spiffeBundle.enabled=true")
	replicas(t, 2)
	if out := control(t, "get", "service", "fairlead-spiffe-bundle", "-o", "jsonpath={.spec.ports[0].port}"); out != "443" {
		t.Errorf("the Service has port %s", out)
	}
	urls := map[string]string{} // of replicas
	// agreed waits until every replica publishes the version that the API server has, and gives its number.
	agreed := func(when string) (number uint64) {
		t.Helper()
		eventually(t, when, func() (string, bool) {
			pods := replicaNames(t)
			version := control(t, "get", "configmap", "fairlead-ca-root-cert", "--ignore-not-found", "-o", "jsonpath={.metadata.resourceVersion}")
			all := []string{"the object is of version " + version}
			same := version != "" && len(pods) == 2
			for _, pod := range pods {
				if urls[pod] == "" {
					urls[pod] = strings.Replace(forward(t, pod, 8443), "http://", "https://", 1)
				}
				b, err := bundleAt(t, urls[pod])
				if err != nil { // also of a port-forward, which ends when nobody listens yet
					delete(urls, pod)
				}
				all = append(all, fmt.Sprintf("%s: %+v %v", pod, b, err))
				same = same && err == nil && b.roots > 0 && strconv.FormatUint(b.number, 10) == version
				number = b.number
			}
			return strings.Join(all, "; "), same
		})
		return number
	}
	first := agreed("two replicas publish one version")
	control(t, "rollout", "restart", "deployment/fairlead-controller")
	control(t, "rollout", "status", "deployment/fairlead-controller", "--timeout=90s")
	restarted := agreed("those that replace them publish one")
	if restarted < first {
		t.Errorf("number %d after %d when all replicas were replaced", restarted, first)
	}
	control(t, "annotate", "configmap", "fairlead-ca-root-cert", "e2e.example/touched=yes")
	touched := agreed("a write is a version")
	if touched <= restarted {
		t.Errorf("number %d after %d when the object was written", touched, restarted)
	}
	control(t, "delete", "configmap", "fairlead-ca-root-cert")
	made := agreed("the object was made anew")
	if made <= touched {
		t.Errorf("number %d after %d when the object was made anew", made, touched)
	}
	t.Logf("numbers: %d; %d after a restart of all replicas; %d after a write; %d after the object was deleted", first, restarted, touched, made)
}
