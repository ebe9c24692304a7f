package model

// WorkloadEntry is a workload that is no pod, such as a virtual machine: an endpoint of the Services and ServiceEntries of its
// namespace that select it.
type WorkloadEntry struct {
	Ref      Ref
	Endpoint StaticEndpoint
}

// Reference names the object that it was read from.
func (w *WorkloadEntry) Reference() Ref { return w.Ref }
