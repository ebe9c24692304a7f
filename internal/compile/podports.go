package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"fairlead.dev/fairlead/internal/model"
)

// What Services that point at the same port of the same pods say of it has to agree: a port of a pod has one protocol.

// podPortKey is a port of the pods that a Service selects, as far as objects say it without looking at pods.
type podPortKey struct {
	namespace, selector string
	number              uint16
	name                string // of a container's port, where no number is written
}

// disagreeing reports ports of Services that carry bytes to a port of their pods which an older Service, or an earlier port of the
// same one, declares to carry HTTP: sidecars serve it as that, and refuse what is no request between meshed pods. Services with
// the same selector are compared; Istio calls it IST0116.
func disagreeing(c *checker, services []*model.Service) {
	services = slices.DeleteFunc(slices.Clone(services), func(s *model.Service) bool { return len(s.Selector) == 0 || !isKubernetes(s) })
	slices.SortStableFunc(services, func(a, b *model.Service) int { return cmp.Or(headlessRank(a)-headlessRank(b), olderService(a, b)) })
	type declared struct {
		by   *model.Service
		port *model.ServicePort
	}
	first := make(map[podPortKey]declared)
	for _, s := range services {
		selector := fmt.Sprint(s.Selector) // in the order of the keys
		for i := range s.Ports {
			p := &s.Ports[i]
			key := podPortKey{namespace: s.Key.Namespace, selector: selector, number: p.TargetPort, name: p.TargetName}
			if p.Protocol == model.UDP || p.Protocol == model.Undeclared {
				continue
			}
			was, known := first[key]
			if !known {
				first[key] = declared{s, p}
				continue
			}
			if carriesRequests(was.port.Protocol) && !carriesRequests(p.Protocol) {
				c.warn(s.Origin, fmt.Sprintf("spec.ports[%d]", i), fmt.Sprintf("port %s of its pods is declared %s by port %s of %s: their sidecars serve it so, and refuse %s from meshed pods",
					cmp.Or(key.name, strconv.Itoa(int(key.number))), was.port.Protocol, portName(was.port), was.by.Origin, p.Protocol),
					"declare the same protocol (name, appProtocol), or point at another port")
			}
		}
	}
}

func portName(p *model.ServicePort) string { return cmp.Or(p.Name, strconv.Itoa(int(p.Port))) }

// carriesRequests reports whether a declared protocol is one of requests.
func carriesRequests(p model.Protocol) bool {
	switch p {
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		return true
	case model.Undeclared, model.TCP, model.TLS, model.UDP:
	}
	return false
}
