package envoy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	// inboundGRPC begins the names of the listeners that servers of gRPC's ask for.
	inboundGRPC = "xds.istio.io/grpc/lds/inbound/"
	// virtualOutbound takes the connections that the kernel redirects, and gives each to the listener of where it was meant to go.
	virtualOutbound = "virtualOutbound"
	outboundPort    = 15001
)

// The addresses of listeners for all hosts of a port: where connections are captured every address is meant, otherwise the one
// that apps are told to call.
const (
	anyAddress = "0.0.0.0"
	loopback   = "127.0.0.1"
)

// listeners are where calls begin.
type listeners struct{ look }

// class reduces a class to what makes a difference for a listener.
func (l listeners) class(name string) (Class, bool) {
	switch {
	case l.c.Kind == GRPC && strings.HasPrefix(name, inboundGRPC):
		return l.ownListener(name)
	case l.c.Kind == GRPC: // the namespace matters: "foo" is a host of the caller's
		return Class{Kind: GRPC, Namespace: l.c.Namespace}, l.dialled(name) != nil
	case l.c.Kind != Envoy || l.c.Namespace == "":
		return Class{}, false
	case name == Everything && l.c.Own:
		return l.ownList()
	case name == Everything:
		return l.together(), true
	case name == virtualInbound || name == meshInbound:
		c := l.taking()
		return c, c.Inbound != ""
	}
	o, ok := l.outbound()[name]
	return l.classOf(o), ok
}

// taking is what makes a difference for how calls to the app come in.
func (l look) taking() Class { return Class{Kind: Envoy, Capture: true, Inbound: l.inbound()} }

// together is what makes a difference for any of the listeners.
func (l listeners) together() Class {
	c := Class{Kind: Envoy, Namespace: l.c.Namespace, Capture: l.c.Capture, Inbound: l.inbound()}
	for _, o := range l.outbound() {
		for name, value := range l.classOf(o).Labels {
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[name] = value
		}
	}
	return c
}

// classOf is what makes a difference for one of them: nothing but whether it captures, where it is for all hosts of a port.
func (l listeners) classOf(o outboundListener) Class {
	c := Class{Kind: Envoy, Capture: l.c.Capture}
	if o.callee.Host == "" {
		return c
	}
	c.Namespace = l.c.Namespace
	d, _ := l.destination(o.callee.HostPort)
	return l.asked(c, d)
}

// names lists the canonical names of the listeners that an Envoy is told of.
func (l listeners) names() []string {
	var out []string
	if !l.c.Own {
		for name, o := range l.outbound() {
			out = append(out, canonicalName(Listener, l.classOf(o), name))
		}
	}
	if c := l.taking(); c.Inbound != "" {
		out = append(out, canonicalName(Listener, c, virtualInbound), canonicalName(Listener, c, meshInbound))
	}
	return out
}

// outboundListener says what a listener for the calls of an app is for.
type outboundListener struct {
	addr netip.Addr
	port uint16
	// callee is the host that it is for, none where it is for all hosts of the port.
	callee compile.Callee
}

// outbound gives the listeners for calls by their names.
func (l listeners) outbound() map[string]outboundListener {
	out := map[string]outboundListener{}
	every := netip.MustParseAddr(loopback)
	if l.c.Capture {
		every = netip.MustParseAddr(anyAddress)
		out[virtualOutbound] = outboundListener{addr: every, port: outboundPort}
	}
	callees := compile.Callable(l.r, l.g, l.c.Namespace)
	for _, at := range callees {
		switch {
		case carriesHTTP(at.Protocol) && (!l.c.Capture || at.Protocol != model.Undeclared || len(at.Addresses) == 0):
			out[listenerName(every, at.Port)] = outboundListener{addr: every, port: at.Port}
		case l.c.Capture:
			for _, addr := range at.Addresses {
				if name := listenerName(addr, at.Port); out[name].port == 0 { // the first host of an address has it
					out[name] = outboundListener{addr: addr, port: at.Port, callee: at}
				}
			}
		}
	}
	if l.c.Capture {
		return out
	}
	// Without captured addresses, a connection to a port names no host: such a port is for one host alone.
	for _, at := range callees {
		same := func(other compile.Callee) bool { return other.Port == at.Port && other.Host != at.Host }
		if !carriesHTTP(at.Protocol) && !slices.ContainsFunc(callees, same) {
			out[listenerName(every, at.Port)] = outboundListener{addr: every, port: at.Port, callee: at}
		}
	}
	return out
}

func listenerName(addr netip.Addr, port uint16) string {
	return addr.String() + "_" + strconv.Itoa(int(port))
}

// parseListenerName takes it apart.
func parseListenerName(s string) (addr netip.Addr, port uint16, ok bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 {
		return addr, 0, false
	}
	addr, err := netip.ParseAddr(s[:i])
	n, wrong := strconv.ParseUint(s[i+1:], 10, 16)
	return addr, uint16(n), err == nil && wrong == nil && n > 0 && listenerName(addr, uint16(n)) == s
}

// listener compiles the listener of a name, nil where there is none.
func (l listeners) listener(name string) *listenerv3.Listener {
	switch {
	case l.c.Kind == GRPC && strings.HasPrefix(name, inboundGRPC):
		return l.serverListener(name)
	case l.c.Kind == GRPC:
		return l.apiListener(name)
	case name == virtualOutbound:
		return l.virtualOutbound()
	case name == virtualInbound:
		return arrivals{l}.virtualInbound()
	case name == meshInbound:
		return arrivals{l}.meshInbound()
	}
	addr, port, ok := parseListenerName(name)
	switch {
	case !ok:
		return nil
	case l.c.Namespace == "": // for all hosts of a port: its routes say which those are
		return l.everyHost(addr, port)
	}
	return l.oneHost(addr, port)
}

// called gives what is called at an address; nil where nothing is. On loopback it is the one host that has the port.
func (l listeners) called(addr netip.Addr, port uint16) *plan.Destination {
	if l.c.Capture {
		return l.aliased(plan.Name{Kind: plan.NameAddress, At: plan.HostPortOf(netip.AddrPortFrom(addr, port))})
	}
	o, ok := l.outbound()[listenerName(addr, port)]
	if !ok {
		return nil
	}
	d, _ := l.destination(o.callee.HostPort)
	return d
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

func networkFilter(name string, config proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(config)}}
}

func listenerFilter(name string, config proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(config)}}
}

// bound says whether a listener has a port of its own, or is given connections by virtualOutbound.
func (l listeners) bound() *wrapperspb.BoolValue { return wrapperspb.Bool(!l.c.Capture) }
