package proxy

import (
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

// dumpFailures prints the calls that failed lately.
func (p *Proxy) dumpFailures() admin.Failures {
	recent, total := p.failures.Recent()
	d := admin.Failures{Pod: p.o.Pod.Name, Namespace: p.o.Pod.Namespace, Total: total, Failures: make([]admin.Failure, 0, len(recent))}
	for i := range recent {
		d.Failures = append(d.Failures, dumpFailure(&recent[i]))
	}
	return d
}

func dumpFailure(f *telemetry.Failure) admin.Failure {
	direction := "outbound"
	if f.Reporter == telemetry.Destination {
		direction = "inbound"
	}
	return admin.Failure{
		Start: f.Start.UTC(), Direction: direction, DurationMS: float64(f.Duration) / float64(time.Millisecond),
		Client: known(f.Client), Dialled: known(f.Dialled), Endpoint: known(f.Endpoint),
		Source: f.Source, Destination: f.Destination, Cluster: f.Cluster, Route: f.Route,
		Protocol: f.Protocol, Method: f.Method, Authority: f.Authority, Path: f.Path, RequestID: f.RequestID,
		Status: f.Code, GRPCStatus: f.GRPCStatus, Flags: f.Flags, Details: f.Details, Cause: f.Cause,
	}
}

// known prints an address, and nothing where there is none.
func known(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return string(model.AppendAddr(nil, a))
}
