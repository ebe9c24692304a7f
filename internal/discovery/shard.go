package discovery

import (
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// stringTable holds the strings of one shard once each: endpoints of a service share most of them. Numbers count from
// 1, 0 is the empty string. The order is that of first use, so equal shards have equal tables.
type stringTable struct {
	strings []string
	index   map[string]uint64 // encoding only
	used    uint64            // decoding only: the highest number met so far; of a patch's table, at least the base's
	omit    bool              // decoding only: some endpoint is to be left out
	loose   bool              // decoding only: fields that are not known here may have used numbers
}

// shardFields walks its endpoints before its table when encoding, because they fill the table.
func shardFields(c *coder, s *plan.EndpointShard) {
	text(c, 1, "name", &s.Name)
	c.table = &stringTable{}
	if c.decoding || c.describe != nil {
		c.texts(2, "strings", &c.table.strings)
		if c.err == nil && !c.table.distinct() {
			c.fail(2, errTableOrder)
		}
		list(c, 3, "endpoints", &s.Endpoints, endpointFields)
		if c.err == nil && c.table.used != uint64(len(c.table.strings)) && !c.skipped {
			c.fail(2, errTableOrder)
		}
		if c.table.omit {
			s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e plan.Endpoint) bool { return e.Health == omitted })
		}
		c.table = nil
		return
	}
	c.table.index = make(map[string]uint64)
	endpoints := coder{table: c.table}
	list(&endpoints, 3, "endpoints", &s.Endpoints, endpointFields)
	if endpoints.err != nil && c.err == nil {
		c.err, c.path = endpoints.err, endpoints.path
		return
	}
	c.texts(2, "strings", &c.table.strings)
	c.buf = append(c.buf, endpoints.buf...)
}

// distinct reports whether the table holds every string once, and not the empty one.
func (t *stringTable) distinct() bool {
	seen := make(map[string]struct{}, len(t.strings))
	for _, s := range t.strings {
		seen[s] = struct{}{}
	}
	_, empty := seen[""]
	return !empty && len(seen) == len(t.strings)
}

// number gives the table's number for s.
func (t *stringTable) number(s string) uint64 {
	if s == "" {
		return 0
	}
	n, ok := t.index[s]
	if !ok {
		t.strings = append(t.strings, s)
		n = uint64(len(t.strings))
		t.index[s] = n
	}
	return n
}

// lookUp gives the string with number n. First uses must come in order, as number hands them out.
func (t *stringTable) lookUp(n uint64) (string, bool) {
	if n == 0 {
		return "", true
	}
	if n > uint64(len(t.strings)) || (n > t.used+1 && !t.loose) {
		return "", false
	}
	t.used = max(t.used, n)
	return t.strings[n-1], true
}

// shared carries a string as its number in the table.
func (c *coder) shared(n protowire.Number, name string, v *string) {
	if c.done(n, name, "uint32") {
		return
	}
	var number uint64
	if !c.decoding {
		number = c.table.number(*v)
	}
	number = c.number(n, number, maxItems)
	if c.decoding && number != 0 {
		*v = c.get(n, number)
	}
}

// sharedTexts carries a list of such numbers.
func (c *coder) sharedTexts(n protowire.Number, name string, v *[]string) {
	if !c.done(n, name, "repeated uint32") {
		packed(c, n, v, c.table.number, func(number uint64) string { return c.get(n, number) })
	}
}

func failureFields(c *coder, f *plan.Failure) {
	text(c, 1, "policy", &f.Policy)
	text(c, 2, "why", &f.Why)
	c.int(3, "since", &f.Since)
}

// gatewayFields: whoever knows them knows that the endpoint is not to be called at its address by itself, see Endpoint.network.
func gatewayFields(c *coder, g *plan.Gateway) {
	c.addr(1, "address", &g.Addr)
	c.uint16(2, "port", &g.Port)
	c.uint32(3, "weight", &g.Weight)
	text(c, 1001, "host", &g.Host)
}

func (c *coder) get(n protowire.Number, number uint64) string {
	c.table.loose = c.skipped
	s, ok := c.table.lookUp(number)
	if !ok {
		c.fail(n, errTableOrder)
	}
	return s
}

// omitted marks an endpoint that must not be called in the way that is known here.
const omitted plan.Health = 255

func endpointFields(c *coder, e *plan.Endpoint) {
	around := c.unit()
	addr, port := e.Addr.Addr(), e.Addr.Port()
	socket := model.SocketPath(addr)
	if socket != "" {
		addr = netip.Addr{}
	}
	c.addr(1, "address", &addr)
	c.uint16(2, "port", &port)
	if c.decoding {
		e.Addr = netip.AddrPortFrom(addr, port)
	}
	c.uint32(3, "weight", &e.Weight)
	enum(c, 4, "health", &e.Health, upTo(plan.Failing, plan.Draining))
	c.bool(5, "meshed", &e.Meshed)
	c.shared(6, "region", &e.Locality.Region)
	c.shared(7, "zone", &e.Locality.Zone)
	c.shared(8, "sub_zone", &e.Locality.SubZone)
	c.shared(9, "identity", &e.Identity)
	c.shared(10, "namespace", &e.Workload.Namespace)
	c.shared(11, "pod", &e.Workload.Pod)
	c.shared(12, "workload", &e.Workload.Name)
	c.shared(13, "app", &e.Workload.App)
	c.shared(14, "version", &e.Workload.Version)
	c.shared(15, "canonical_name", &e.Workload.CanonicalName)
	c.shared(16, "canonical_revision", &e.Workload.CanonicalRevision)
	c.shared(17, "cluster", &e.Workload.Cluster)
	c.shared(18, "node", &e.Workload.Node)
	c.sharedTexts(19, "subsets", &e.Subsets)
	c.sharedTexts(20, "labels", &e.Labels)
	c.sharedTexts(21, "for_zones", &e.ForZones)
	part(c, 22, "failure", &e.Failure, failureFields)
	c.addr(23, "other_address", &e.Other)
	c.bool(24, "stable", &e.Stable)
	list(c, 25, "gateways", &e.Gateways, gatewayFields)
	text(c, 1001, "unix", &socket)
	c.bool(1002, "mutual", &e.Mutual)
	c.shared(1003, "network", &e.Network)
	if c.decoding && socket != "" {
		e.Addr = model.SocketAddr(socket)
	}
	if c.refused(around) {
		e.Health, c.table.omit = omitted, true
	}
}
