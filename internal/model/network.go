package model

import "net/netip"

// GatewayPortLabel says at which port of its Service a gateway between networks listens, DefaultGatewayPort where it does not. It
// may be an annotation too.
const GatewayPortLabel = "networking.istio.io/gatewayPort"

// DefaultGatewayPort is Istio's.
const DefaultGatewayPort = 15443

// NetworkGateway is a Service by which a network is called from others (LabelNetwork on a Service).
type NetworkGateway struct {
	Network string
	Port    uint16
	// Addresses are those at which other networks reach it: of its load balancer, and its external ones.
	Addresses []netip.Addr
}
