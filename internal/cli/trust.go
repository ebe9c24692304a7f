package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/check"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/spiffebundle"
)

const (
	trustSecretName  = "fairlead-trust-"
	trustSecretLabel = "fairlead.dev/trust" //nolint:gosec // a name, no secret
	// trustDomainAnnotation says for which trust domain the roots vouch.
	trustDomainAnnotation = "fairlead.dev/trust-domain"
	rootConfigMap         = "fairlead-ca-root-cert"
	rootConfigMapKey      = "root-cert.pem"
)

// trustWish is what "fairlead multicluster trust" is asked for.
type trustWish struct {
	name, domain string
	// bundle says where a SPIFFE bundle is that takes the place of the roots of the cluster at hand: a file or an https URL.
	bundle string
	output string
}

// newMulticlusterTrustCommand is "fairlead multicluster trust".
func newMulticlusterTrustCommand(a *app) *cobra.Command {
	var w trustWish
	cmd := &cobra.Command{
		Use: "trust --name CLUSTER", Args: cobra.NoArgs,
		Short: "Print a Secret for another cluster: with it, the mesh there trusts the roots of the cluster at hand",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := trust(cmd.Context(), a, &w)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.Out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&w.name, "name", "", "name of the cluster at hand, mesh.clusterID of its control plane")
	cmd.Flags().StringVar(&w.domain, "trust-domain", "", "trust domain that the roots vouch for (default that of the cluster at hand)")
	cmd.Flags().StringVar(&w.bundle, "bundle", "", "take the roots from a SPIFFE bundle, a `FILE` or an https URL, in place of those of the cluster at hand; with --trust-domain")
	cmd.Flags().StringVarP(&w.output, "output", "o", "secret", "secret, or spiffe: the roots as a SPIFFE bundle, for spire-server bundle set -format spiffe")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}

// trust gives what is asked for: a Secret as YAML, or a SPIFFE bundle.
func trust(ctx context.Context, a *app, w *trustWish) (string, error) {
	switch {
	case w.output != "secret" && w.output != "spiffe":
		return "", fmt.Errorf("--output %q: write secret or spiffe", w.output)
	case w.bundle != "" && w.domain == "":
		return "", errors.New("--bundle: a SPIFFE bundle does not say of which trust domain it is: give --trust-domain")
	}
	if err := remote.CheckName(w.name); err != nil {
		return "", err
	}
	roots, err := rootsFor(ctx, a, w)
	if err != nil {
		return "", err
	}
	if w.output == "secret" {
		return trustSecret(a.system, w, roots)
	}
	certs, err := identity.ParseRoots([]byte(roots))
	if err != nil {
		return "", err
	}
	text, err := spiffebundle.Encode(certs)
	return string(text), err
}

// rootsFor gives the roots, PEM, and completes the trust domain.
func rootsFor(ctx context.Context, a *app, w *trustWish) (string, error) {
	if w.bundle != "" {
		text, err := readBundle(ctx, w.bundle)
		if err != nil {
			return "", fmt.Errorf("--bundle: %w", err)
		}
		bundle, err := spiffebundle.Parse(text)
		if err == nil && len(bundle.Roots) == 0 {
			err = errors.New("SPIFFE bundle: all its keys are revoked")
		}
		if err != nil {
			return "", fmt.Errorf("--bundle %s: %w", w.bundle, err)
		}
		return string(identity.EncodeCertificates(bundle.Roots...)), identity.ValidateTrustDomain(w.domain)
	}
	c, err := a.cluster()
	if err != nil {
		return "", err
	}
	roots, err := ownRoots(ctx, c, a.system)
	if err != nil {
		return "", err
	}
	if w.domain == "" {
		if w.domain, err = trustDomain(ctx, c, a.system); err != nil {
			return "", err
		}
	}
	return roots, identity.ValidateTrustDomain(w.domain)
}

// readBundle reads a file, or asks an endpoint whose certificate the system's CAs vouch for.
func readBundle(ctx context.Context, from string) ([]byte, error) {
	if strings.Contains(from, "://") {
		return spiffebundle.Fetch(ctx, from, spiffebundle.NewClient(nil))
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, spiffebundle.MaxBytes+1))
}

// trustDomain gives that of the cluster at hand.
func trustDomain(ctx context.Context, c *cluster.Client, system string) (string, error) {
	var d appsv1.Deployment
	err := c.Get(ctx, cluster.Path("/apis/apps/v1", system, "deployments", check.Controller), &d)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("no Deployment %s in namespace %s says the trust domain of this cluster: give --trust-domain", check.Controller, system)
	}
	return check.TrustDomain(&d), err
}

// ownRoots gives those of the cluster at hand, PEM. Those that it trusts besides are not among them.
func ownRoots(ctx context.Context, c *cluster.Client, system string) (string, error) {
	var m corev1.ConfigMap
	err := c.Get(ctx, cluster.Path("/api/v1", system, "configmaps", rootConfigMap), &m)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("no ConfigMap %s in namespace %s: install the mesh in this cluster first", rootConfigMap, system)
	case err != nil:
		return "", err
	case m.Data[rootConfigMapKey] == "":
		return "", errors.New("ConfigMap " + system + "/" + rootConfigMap + " has no " + rootConfigMapKey + " yet")
	}
	return m.Data[rootConfigMapKey], nil
}

// trustSecret gives the Secret with roots and their trust domain, as YAML.
func trustSecret(system string, w *trustWish, roots string) (string, error) {
	secret, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": trustSecretName + w.name, "namespace": system,
			"labels": map[string]string{trustSecretLabel: "true"}, "annotations": map[string]string{clusterAnnotation: w.name, trustDomainAnnotation: w.domain},
		},
		"stringData": map[string]string{w.name: roots},
	})
	if err != nil {
		return "", err
	}
	return "# This file is autogenerated, do not edit.\n" + string(secret) + "---\n", nil
}
