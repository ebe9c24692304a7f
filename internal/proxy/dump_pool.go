package proxy

import (
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

func dumpLimits(uses []lb.LimitUse) []admin.LimitDump {
	var out []admin.LimitDump
	for _, u := range uses {
		out = append(out, admin.LimitDump{Setting: u.Setting, Limit: u.Limit, InUse: u.InUse, Overflows: u.Overflows})
	}
	return out
}

// describeAppPool is describePool for what a called sidecar obeys.
func describeAppPool(p *plan.AppPool) map[string]string {
	return describePool(&model.ConnectionPool{
		ConnectTimeout: p.ConnectTimeout, HTTPIdleTimeout: p.HTTPIdleTimeout, MaxConnectionDuration: p.MaxConnectionDuration,
		KeepAlive: p.KeepAlive, MaxRequestsPerConnection: p.MaxRequestsPerConnection, MaxConcurrentStreams: p.MaxConcurrentStreams, Ping: p.Ping,
	})
}

// describePool is what a connectionPool says beside the limits that are counted, by the paths of its fields.
func describePool(p *model.ConnectionPool) map[string]string {
	out := map[string]string{}
	duration := func(name string, d time.Duration) {
		if d != 0 {
			out[name] = d.String()
		}
	}
	number := func(name string, n uint32) {
		if n != 0 {
			out[name] = strconv.FormatUint(uint64(n), 10)
		}
	}
	duration("tcp.connectTimeout", p.ConnectTimeout)
	duration("tcp.idleTimeout", p.TCPIdleTimeout)
	duration("tcp.maxConnectionDuration", p.MaxConnectionDuration)
	number("tcp.tcpKeepalive.probes", p.KeepAlive.Probes)
	duration("tcp.tcpKeepalive.time", p.KeepAlive.Time)
	duration("tcp.tcpKeepalive.interval", p.KeepAlive.Interval)
	duration("http.idleTimeout", p.HTTPIdleTimeout)
	number("http.maxRequestsPerConnection", p.MaxRequestsPerConnection)
	number("http.maxConcurrentStreams", p.MaxConcurrentStreams)
	duration("http.http2KeepAlive.interval", p.Ping.Interval)
	duration("http.http2KeepAlive.timeout", p.Ping.Timeout)
	if p.Upgrade {
		out["http.h2UpgradePolicy"] = "UPGRADE"
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
