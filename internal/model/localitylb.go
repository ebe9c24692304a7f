package model

import (
	"fmt"
	"strings"
)

// LocalityLB is a localityLbSetting: which endpoints calls go to, by where these and the caller are.
type LocalityLB struct {
	// Off is enabled: false. Distance does not matter then, whatever the Service or the mesh says.
	Off bool
	// Distribute has what each locality's callers send where: the first entry that covers the caller counts. Where there is
	// one, calls are shared out and have no order of preference; where none covers the caller, distance does not matter.
	Distribute []LocalityShares
	// Failover names the region that calls leave their own for, before all others.
	Failover []RegionFailover
	// FailoverPriority lists labels, the weightiest first: "name" where an endpoint should have the caller's value, or
	// "name=value". Without it, region, zone and subzone count.
	FailoverPriority []string
}

// LocalityShares are what the callers of some localities send where.
type LocalityShares struct {
	From LocalityPattern
	To   []LocalityShare // in the order of the patterns
}

// LocalityShare is a part of the calls, in percent.
type LocalityShare struct {
	To      LocalityPattern
	Percent uint32
}

// RegionFailover says where calls go when a region has not enough endpoints.
type RegionFailover struct{ From, To string }

// Site is where a caller or an endpoint is, as a LocalityLB sees it.
type Site struct {
	Locality Locality
	// Label gives a label's value, "" where there is none. Those of the topology are among them.
	Label func(name string) string
}

// SharesOf gives what a caller at a locality sends where; ok is false where Distribute has nothing for it.
func (s *LocalityLB) SharesOf(caller Locality) (_ []LocalityShare, ok bool) {
	for i := range s.Distribute {
		if s.Distribute[i].From.Covers(caller) {
			return s.Distribute[i].To, true
		}
	}
	return nil, false
}

// localityRanks is how many ranks byLocality tells apart.
const localityRanks = 5

// Rank says how far an endpoint is from a caller, where Distribute is not used: 0 is best, and the numbers between have no
// meaning (Istio, networking/core/loadbalancer: failoverPriority before failover, failover within it).
func (s *LocalityLB) Rank(caller, endpoint Site) int {
	if len(s.FailoverPriority) == 0 {
		return s.byLocality(caller.Locality, endpoint.Locality)
	}
	rank := s.byLabels(caller, endpoint)
	if len(s.Failover) > 0 {
		rank = rank*localityRanks + s.byLocality(caller.Locality, endpoint.Locality)
	}
	return rank
}

// byLabels is 0 where all labels agree, and the higher the earlier the first stands that does not.
func (s *LocalityLB) byLabels(caller, endpoint Site) int {
	for i, written := range s.FailoverPriority {
		name, want, fixed := strings.Cut(written, "=")
		if !fixed {
			want = caller.Label(name)
		}
		if endpoint.Label(name) != want {
			return len(s.FailoverPriority) - i
		}
	}
	return 0
}

// byLocality is 0 in the same subzone, 1 in the same zone, 2 in the same region, 3 in another one, and 4 where calls are to
// leave for another one than that. What is not known of both is the same; a caller of which nothing is known is near to all.
func (s *LocalityLB) byLocality(caller, endpoint Locality) int {
	switch {
	case caller == Locality{}, caller == endpoint:
		return 0
	case caller.Region == endpoint.Region && caller.Zone == endpoint.Zone:
		return 1
	case caller.Region == endpoint.Region:
		return 2
	}
	for _, f := range s.Failover {
		if f.From == caller.Region && f.To != endpoint.Region {
			return 4
		}
		if f.From == caller.Region {
			break
		}
	}
	return 3
}

// PriorityLabels are the names in FailoverPriority.
func (s *LocalityLB) PriorityLabels() []string {
	if s == nil {
		return nil
	}
	var out []string
	for _, written := range s.FailoverPriority {
		name, _, _ := strings.Cut(written, "=")
		out = append(out, name)
	}
	return out
}

// Labels that tell where something is.
const (
	LabelRegion  = "topology.kubernetes.io/region"
	LabelZone    = "topology.kubernetes.io/zone"
	LabelSubZone = "topology.istio.io/subzone"
	LabelCluster = "topology.istio.io/cluster"
	LabelNetwork = "topology.istio.io/network"
	LabelNode    = "kubernetes.io/hostname"
)

// Topology is what the labels of the topology say of something, where they say anything.
type Topology struct {
	Locality      Locality
	Cluster, Node string
}

// Label gives the value of a label of the topology; ok is false for every other label, and for what is not known.
func (t Topology) Label(name string) (value string, ok bool) {
	switch name {
	case LabelRegion:
		value = t.Locality.Region
	case LabelZone:
		value = t.Locality.Zone
	case LabelSubZone:
		value = t.Locality.SubZone
	case LabelCluster:
		value = t.Cluster
	case LabelNode:
		value = t.Node
	}
	return value, value != ""
}

// String describes the setting in Istio's words.
func (s *LocalityLB) String() string {
	switch {
	case s == nil:
		return ""
	case s.Off:
		return "enabled: false"
	case len(s.Distribute) > 0:
		return "distribute " + join(s.Distribute, "; ", func(d LocalityShares) string {
			return string(d.From) + " to " + join(d.To, ", ", func(to LocalityShare) string { return fmt.Sprintf("%s %d%%", to.To, to.Percent) })
		})
	}
	out := "failover"
	if len(s.FailoverPriority) > 0 {
		out = "failoverPriority " + strings.Join(s.FailoverPriority, ", ")
	}
	if len(s.Failover) > 0 {
		out += " from " + join(s.Failover, ", ", func(f RegionFailover) string { return f.From + " to " + f.To })
	}
	return out
}

func join[T any](list []T, separator string, describe func(T) string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = describe(v)
	}
	return strings.Join(out, separator)
}
