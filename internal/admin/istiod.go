package admin

import "strconv"

// istiodSync is how istiod's /debug/syncz says how a proxy stands (istio pilot/pkg/xds/debug.go, SyncStatus): for each type
// of resources what was sent last and what was confirmed last, in sync where both are the same and not empty.
type istiodSync struct {
	ClusterID     string `json:"cluster_id"`
	Proxy         string `json:"proxy"`
	ProxyType     string `json:"proxy_type"`
	ProxyVersion  string `json:"proxy_version"`
	IstioVersion  string `json:"istio_version"`
	ClusterSent   string `json:"cluster_sent,omitempty"`
	ClusterAcked  string `json:"cluster_acked,omitempty"`
	ListenerSent  string `json:"listener_sent,omitempty"`
	ListenerAcked string `json:"listener_acked,omitempty"`
	RouteSent     string `json:"route_sent,omitempty"`
	RouteAcked    string `json:"route_acked,omitempty"`
	EndpointSent  string `json:"endpoint_sent,omitempty"`
	EndpointAcked string `json:"endpoint_acked,omitempty"`
}

// bothShapes is a Proxy that tools for Istio can read too. None of the keys is in both.
type bothShapes struct {
	Proxy
	istiodSync
}

func inBothShapes(proxies []Proxy, clusterID string) []bothShapes {
	all := make([]bothShapes, len(proxies))
	for i := range proxies {
		all[i] = bothShapes{proxies[i], asIstiod(&proxies[i], clusterID)}
	}
	return all
}

// asIstiod says it of one proxy. A sidecar confirms everything at once, so all types stand alike.
func asIstiod(p *Proxy, clusterID string) istiodSync {
	s := istiodSync{ClusterID: clusterID, Proxy: p.ID, ProxyType: "sidecar", ProxyVersion: p.Version, IstioVersion: p.Version}
	if p.Node == "" {
		sent, acked := strconv.FormatUint(p.Sent, 10), strconv.FormatUint(p.Acked, 10)
		switch {
		case p.Sent == 0:
			sent, acked = "", ""
		case p.State == Synced:
			acked = sent
		case p.State == Unknown || acked == sent || p.Acked == 0:
			acked = ""
		}
		s.ClusterSent, s.ListenerSent, s.RouteSent, s.EndpointSent = sent, sent, sent, sent
		s.ClusterAcked, s.ListenerAcked, s.RouteAcked, s.EndpointAcked = acked, acked, acked, acked
		return s
	}
	for _, t := range p.Types {
		switch t.Type {
		case "CDS":
			s.ClusterSent, s.ClusterAcked = t.Sent, t.InForce
		case "LDS":
			s.ListenerSent, s.ListenerAcked = t.Sent, t.InForce
		case "RDS":
			s.RouteSent, s.RouteAcked = t.Sent, t.InForce
		case "EDS":
			s.EndpointSent, s.EndpointAcked = t.Sent, t.InForce
		}
	}
	return s
}
