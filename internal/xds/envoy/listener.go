package envoy

import (
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"fairlead.dev/fairlead/internal/plan"
)

// inboundGRPC begins the names of the listeners that servers of gRPC's ask for.
const inboundGRPC = "xds.istio.io/grpc/lds/inbound/"

// listeners are where calls begin.
type listeners struct{ look }

// class reduces a class to what makes a difference for a listener.
func (l listeners) class(name string) (Class, bool) {
	c := Class{Kind: l.c.Kind}
	switch {
	case l.c.Kind == GRPC && strings.HasPrefix(name, inboundGRPC):
		return Class{}, false
	case l.c.Kind == GRPC:
		c.Namespace = l.c.Namespace // "foo" is a host of the caller's namespace
		return c, l.dialled(name) != nil
	case name == Everything:
		c.Namespace, c.Capture = l.c.Namespace, l.c.Capture
		return c, true
	}
	return c, false
}

// names lists the listeners that an Envoy is told of.
func (l listeners) names() []string { return nil }

// listener compiles the listener of a name, nil where there is none.
func (l listeners) listener(name string) *listenerv3.Listener {
	if l.c.Kind == GRPC {
		return l.apiListener(name)
	}
	return nil
}

// dialled gives what the target of a channel means, "host:port" as it is written behind xds:///; nil where it means nothing.
func (l listeners) dialled(target string) *plan.Destination {
	at, ok := plan.ParseHostPort(target)
	if !ok {
		return nil
	}
	d, _ := l.destination(at)
	if d == nil || !carriesHTTP(d.Protocol) || len(d.Routes) == 0 {
		return nil
	}
	return d
}

// apiListener is what a channel of gRPC's asks for first.
func (l listeners) apiListener(target string) *listenerv3.Listener {
	d := l.dialled(target)
	if d == nil {
		return nil
	}
	m := l.manager(target, clusterName{at: plan.HostPort{Host: d.Host, Port: d.Port}}.String())
	return &listenerv3.Listener{
		Name: target, ApiListener: &listenerv3.ApiListener{ApiListener: packed(m)},
		Address: socketAddress(string(d.Host), d.Port), // nobody listens there, but the field is required
	}
}
