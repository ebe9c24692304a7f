package istio

import (
	"fmt"
	"math/big"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

const (
	// maxTable is the size from which on Envoy refuses a Maglev table, maxRing the largest ring that it takes.
	maxTable = 5000011
	maxRing  = 8 << 20
)

// consistentHash reads which calls go to one endpoint, and by which table.
func (t destinationRule) consistentHash(field string, in *networking.LoadBalancerSettings_ConsistentHashLB) (model.LBKind, model.HashPolicy) {
	out := t.hashKey(field, in)
	ring := in.GetMinimumRingSize()                //nolint:staticcheck // deprecated and still written
	if ring != 0 && in.GetHashAlgorithm() != nil { // as above
		t.Reject(field+".minimumRingSize", "cannot go with ringHash or maglev", "write ringHash: {minimumRingSize: …}")
	}
	at := field + ".minimumRingSize"
	switch table := in.GetHashAlgorithm().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_Maglev:
		size := table.Maglev.GetTableSize()
		if size >= maxTable || size != 0 && !big.NewInt(0).SetUint64(size).ProbablyPrime(0) {
			t.Reject(field+".maglev.tableSize", fmt.Sprintf("%d is not a prime number below %d", size, maxTable), "such as 65537")
		}
		out.TableSize = uint32(size)
		return model.Maglev, out
	case *networking.LoadBalancerSettings_ConsistentHashLB_RingHash_:
		ring, at = table.RingHash.GetMinimumRingSize(), field+".ringHash.minimumRingSize"
	}
	if ring > maxRing {
		t.Reject(at, fmt.Sprintf("%d is above %d", ring, maxRing), "leave it out for 1024")
	}
	out.TableSize = uint32(ring)
	return model.RingHash, out
}

// hashKey reads what calls have in common that go to one endpoint.
func (t destinationRule) hashKey(field string, in *networking.LoadBalancerSettings_ConsistentHashLB) model.HashPolicy {
	switch key := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		if !isToken(key.HttpHeaderName) && !isPseudoHeader(key.HttpHeaderName) {
			t.Reject(field+".httpHeaderName", fmt.Sprintf("%q is not a header", key.HttpHeaderName), "name the header whose value decides")
		}
		return model.HashPolicy{By: model.HashByHeader, Name: strings.ToLower(key.HttpHeaderName)}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		return t.hashCookie(field+".httpCookie", key.HttpCookie)
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		if key.UseSourceIp {
			return model.HashPolicy{By: model.HashBySource}
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if key.HttpQueryParameterName == "" {
			t.Reject(field+".httpQueryParameterName", "no name", "name the query parameter whose value decides")
		}
		return model.HashPolicy{By: model.HashByQuery, Name: key.HttpQueryParameterName}
	}
	t.Warn(field, "nothing says which calls are alike: they are spread at random",
		"add httpHeaderName, httpCookie, useSourceIp: true or httpQueryParameterName")
	return model.HashPolicy{}
}

// isPseudoHeader reports whether a name is one of those of HTTP/2 that every request has, as Envoy hashes them.
func isPseudoHeader(name string) bool {
	return name == ":path" || name == ":authority" || name == ":method"
}

func (t destinationRule) hashCookie(field string, in *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) model.HashPolicy {
	out := model.HashPolicy{By: model.HashByCookie, Name: in.GetName(), Path: in.GetPath(), Issue: in.GetTtl() != nil}
	switch {
	case in.GetName() == "":
		t.Reject(field+".name", "no name", "name the cookie")
	case !isToken(in.GetName()):
		t.Reject(field+".name", fmt.Sprintf("%q cannot be the name of a cookie", in.GetName()), "use letters, digits and -_.")
	}
	if !isCookieText(in.GetPath()) {
		t.Reject(field+".path", fmt.Sprintf("%q cannot stand in a cookie", in.GetPath()), "write a path such as /")
	}
	if ttl := in.GetTtl(); ttl != nil {
		if out.TTL = ttl.AsDuration(); ttl.CheckValid() != nil || out.TTL < 0 {
			t.Reject(field+".ttl", fmt.Sprintf("%s is not a time to live", out.TTL), "write it like 1h, or 0s for a cookie of the browser's session")
		}
	}
	for i, a := range in.GetAttributes() {
		at := fmt.Sprintf("%s.attributes[%d]", field, i)
		if !isToken(a.GetName()) {
			t.Reject(at+".name", fmt.Sprintf("%q is not an attribute of a cookie", a.GetName()), "such as SameSite")
		}
		if !isCookieText(a.GetValue()) {
			t.Reject(at+".value", fmt.Sprintf("%q cannot stand in a cookie", a.GetValue()), "such as Lax")
		}
		out.Attributes = append(out.Attributes, model.HeaderValue{Name: a.GetName(), Value: a.GetValue()})
	}
	return out
}

// isCookieText reports whether text can be the value of a cookie's attribute (RFC 6265 §4.1.1).
func isCookieText(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c >= 0x7f || c == ';' {
			return false
		}
	}
	return true
}

// annotatedBalance has all policies of a rule that hash bound loads by the factor of its annotation.
func (t destinationRule) annotatedBalance(value string, policy *model.DestinationPolicy) {
	field := "metadata.annotations[" + model.HashBalanceAnnotation + "]"
	factor, ok := model.AnnotatedBalance(value)
	switch {
	case !ok:
		t.Warn(field, fmt.Sprintf("%q is no percentage of 100 and above: no effect", value), "such as 125, or 0 for no bound")
		return
	case factor == 0:
		return
	}
	hashes := false
	bounded := func(p model.TrafficPolicy) model.TrafficPolicy {
		if p.LB.Hashes() {
			p.Hash.BalanceFactor, hashes = factor, true
		}
		return p
	}
	policy.Default = bounded(policy.Default)
	for i := range policy.Subsets {
		policy.Subsets[i].Policy = bounded(policy.Subsets[i].Policy)
	}
	for _, ports := range append([]map[uint16]model.TrafficPolicy{policy.PerPort}, portsOf(policy.Subsets)...) {
		for port, p := range ports {
			ports[port] = bounded(p)
		}
	}
	if !hashes {
		t.Warn(field, "no effect without consistentHash", "add spec.trafficPolicy.loadBalancer.consistentHash, or remove the annotation")
	}
}
