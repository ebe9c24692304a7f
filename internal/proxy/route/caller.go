package route

// Caller is the workload that calls, as far as rules ask for it.
type Caller struct {
	Namespace string
	Labels    map[string]string
}

// callerCondition is what a rule wants of the caller. The zero value takes every one.
type callerCondition struct {
	namespace string
	labels    map[string]string
}

func (s *callerCondition) is(c Caller) bool {
	if s.namespace != "" && s.namespace != c.Namespace {
		return false
	}
	for name, want := range s.labels {
		if got, ok := c.Labels[name]; !ok || got != want {
			return false
		}
	}
	return true
}
