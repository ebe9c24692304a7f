//go:build conformance

// Package conformance runs the Gateway API's own conformance suite, unmodified, against the mesh of the cluster that
// KUBECONFIG names. Flags are the suite's: go test -tags conformance -args -h.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) { conformance.RunConformance(t) }
