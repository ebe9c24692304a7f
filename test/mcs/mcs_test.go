//go:build conformance

package mcs_test

import (
	"testing"

	"sigs.k8s.io/mcs-api/conformance"
)

// TestConformance is the suite as it is; its own flags say which clusters.
func TestConformance(t *testing.T) { conformance.TestConformance(t) }
