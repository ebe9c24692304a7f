package istio

import (
	"fmt"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

func (t destinationRule) connectionPool(field string, in *networking.ConnectionPoolSettings) model.ConnectionPool {
	var out model.ConnectionPool
	if in != nil && in.GetTcp() == nil && in.GetHttp() == nil {
		t.Reject(field, "empty", "add tcp or http")
	}
	t.tcpPool(field+".tcp", in.GetTcp(), &out)
	t.httpPool(field+".http", in.GetHttp(), &out)
	return out
}

func (t destinationRule) tcpPool(field string, in *networking.ConnectionPoolSettings_TCPSettings, out *model.ConnectionPool) {
	if in == nil {
		return
	}
	out.MaxConnections = t.limit(field+".maxConnections", in.GetMaxConnections())
	out.ConnectTimeout = t.duration(field+".connectTimeout", in.GetConnectTimeout())
	if idle := in.GetIdleTimeout(); idle.AsDuration() != 0 { // 0s is never, as in Istio
		out.TCPIdleTimeout = t.duration(field+".idleTimeout", idle)
	}
	out.MaxConnectionDuration = t.duration(field+".maxConnectionDuration", in.GetMaxConnectionDuration())
	if alive := in.GetTcpKeepalive(); alive != nil {
		out.KeepAlive = model.TCPKeepAlive{
			Probes:   atMost(t, field+".tcpKeepalive.probes", alive.GetProbes(), maxProbes),
			Time:     atMost(t, field+".tcpKeepalive.time", t.duration(field+".tcpKeepalive.time", alive.GetTime()), maxProbePause),
			Interval: atMost(t, field+".tcpKeepalive.interval", t.duration(field+".tcpKeepalive.interval", alive.GetInterval()), maxProbePause),
		}
	}
}

// What Linux takes (tcp(7)): TCP_KEEPCNT; TCP_KEEPIDLE and TCP_KEEPINTVL, in seconds.
const (
	maxProbes     = 127
	maxProbePause = 32767 * time.Second
)

// atMost bounds a value by what the kernel takes.
func atMost[T uint32 | time.Duration](t destinationRule, field string, value, limit T) T {
	if value > limit {
		t.Warn(field, fmt.Sprintf("%v is more than the kernel takes: it counts as %v", value, limit), fmt.Sprintf("write at most %v", limit))
		return limit
	}
	return value
}

func (t destinationRule) httpPool(field string, in *networking.ConnectionPoolSettings_HTTPSettings, out *model.ConnectionPool) {
	if in == nil {
		return
	}
	out.MaxPendingRequests = t.limit(field+".http1MaxPendingRequests", in.GetHttp1MaxPendingRequests())
	out.MaxRequests = t.limit(field+".http2MaxRequests", in.GetHttp2MaxRequests())
	out.MaxRequestsPerConnection = t.limit(field+".maxRequestsPerConnection", in.GetMaxRequestsPerConnection())
	out.HTTPIdleTimeout = t.duration(field+".idleTimeout", in.GetIdleTimeout())
	out.MaxRetries = t.limit(field+".maxRetries", in.GetMaxRetries())
	out.MaxConcurrentStreams = t.limit(field+".maxConcurrentStreams", in.GetMaxConcurrentStreams())
	out.Upgrade = in.GetH2UpgradePolicy() == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE
	if out.Upgrade && in.GetUseClientProtocol() {
		t.Reject(field+".useClientProtocol", "cannot go with h2UpgradePolicy: UPGRADE", "remove one of them")
	}
	if ping := in.GetHttp2KeepAlive(); ping != nil {
		out.Ping.Interval = t.duration(field+".http2KeepAlive.interval", ping.GetInterval())
		out.Ping.Timeout = t.duration(field+".http2KeepAlive.timeout", ping.GetTimeout())
		if ping.GetInterval() == nil {
			t.Reject(field+".http2KeepAlive.interval", "missing", "say how often to ping, such as 30s")
		}
		if ping.GetTimeout() == nil {
			t.Reject(field+".http2KeepAlive.timeout", "missing", "say how long the answer to a ping may take, such as 5s")
		}
	}
}
