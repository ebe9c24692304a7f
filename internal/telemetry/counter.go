package telemetry

// Counter is the sink that counts calls in their series.
type Counter struct{}

// CountOpened counts the beginning of an opaque connection, of which everything is known but its end. Counter counts the end.
func (r *Record) CountOpened() {
	r.opened = r.TCP.of(r)
	r.opened.Opened()
}

// Record implements Sink.
func (Counter) Record(r *Record) {
	if r.HTTP != nil {
		r.HTTP.Observe(r)
	}
	if r.opened != nil {
		r.opened.Bytes(r.Received, r.Sent)
		r.opened.Closed()
	}
}
