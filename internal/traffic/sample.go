package traffic

// Classes of answers: the hundreds of the status, and NoAnswer for a call that broke off before there was one.
const (
	NoAnswer = 0
	Classes  = 6
)

// Sample is what went over an edge in a while. Samples of successive steps, and of the edges of several reporters, add up.
type Sample struct {
	// Responses counts finished requests by the class of their status. Of opaque connections there are none.
	Responses [Classes]uint64
	// Failures are the requests, or opaque connections, that failed: answered with 500 and above, a gRPC status that blames
	// the server, broken off, or refused by a sidecar.
	Failures uint64
	// Retries are the tries beyond the first of each request, Timeouts the requests that a timeout ended.
	Retries, Timeouts uint64
	// Opened counts opaque connections that began.
	Opened uint64
	// Open is how many connections were open at the end; of steps that are added the latest counts.
	Open uint64
	// Received and Sent count bytes of bodies and of opaque connections, from the client and to it.
	Received, Sent uint64
	// Latency counts requests by the time until the end of the answer.
	Latency Histogram
}

// Requests is how many requests were finished.
func (s *Sample) Requests() (n uint64) {
	for _, c := range s.Responses {
		n += c
	}
	return n
}

// Successes is how many of the requests did not fail.
func (s *Sample) Successes() uint64 {
	n := s.Requests()
	return n - min(s.Failures, n)
}

// IsZero reports whether nothing happened and nothing is open.
func (s *Sample) IsZero() bool { return *s == Sample{} }

// Then adds a later sample of the same edge and reporter.
func (s *Sample) Then(later *Sample) {
	open := later.Open
	s.Add(later)
	s.Open = open
}

// Add adds the sample of another edge or reporter for the same time.
func (s *Sample) Add(o *Sample) {
	for i, n := range o.Responses {
		s.Responses[i] += n
	}
	s.Failures += o.Failures
	s.Retries += o.Retries
	s.Timeouts += o.Timeouts
	s.Opened += o.Opened
	s.Open += o.Open
	s.Received += o.Received
	s.Sent += o.Sent
	s.Latency.Add(&o.Latency)
}
