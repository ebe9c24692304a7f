package route

// Caller is the workload that calls, as far as rules ask for it.
type Caller struct {
	Namespace string
	Labels    map[string]string
}

// source is what a rule wants of the caller. The zero value takes every one.
type source struct {
	namespace string
	labels    map[string]string
}

func (s *source) is(c Caller) bool {
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
