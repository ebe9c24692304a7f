package directory

import (
	"fmt"

	"fairlead.dev/fairlead/internal/plan"
)

// Event is something that the control plane said and that is not the directory's to put in force.
type Event struct {
	Kind    EventKind
	Trust   *plan.TrustBundle // of TrustChanged
	Global  *plan.MeshGlobal  // of GlobalChanged
	Inbound string            // of InboundNamed
}

// EventKind tells events apart. The zero value is invalid.
type EventKind uint8

const (
	// TrustChanged means that other roots or trust domains count.
	TrustChanged EventKind = iota + 1
	// GlobalChanged means that settings of the whole mesh have changed.
	GlobalChanged
	// InboundNamed means that the policy for connections to this workload is called Inbound, and must be asked for.
	InboundNamed
	// PolicyChanged means that another policy for connections to this workload is in force.
	PolicyChanged
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case TrustChanged:
		return "trust"
	case GlobalChanged:
		return "global"
	case InboundNamed:
		return "inbound"
	case PolicyChanged:
		return "policy"
	}
	return fmt.Sprintf("event %d", k)
}
