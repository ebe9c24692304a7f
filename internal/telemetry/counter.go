package telemetry

// Counter is the sink that counts calls in their series.
type Counter struct{}

// Record implements Sink.
func (Counter) Record(r *Record) {
	if r.HTTP != nil {
		r.HTTP.Observe(Observation{
			Code: r.Code, Flags: r.Flags, GRPCStatus: r.GRPCStatus, Duration: r.Duration,
			RequestBytes: r.Received, ResponseBytes: r.Sent,
		})
	}
	if r.TCP != nil {
		r.TCP.Bytes(r.Received, r.Sent)
		r.TCP.Closed()
	}
}
