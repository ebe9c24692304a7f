package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// PortProtocol selects the protocol of a port by Istio's rules (its pkg/config/kube/conversion.go): UDP is UDP;
// appProtocol replaces the name; the name counts up to its first dash, but for grpc-web; some well-known ports of
// server-first protocols are TCP without a name. Everything else is detected.
func PortProtocol(port int32, name string, appProtocol *string, transport corev1.Protocol) model.Protocol {
	if transport == corev1.ProtocolUDP {
		return model.UDP
	}
	if appProtocol != nil {
		name = *appProtocol
	}
	if p := namedProtocol(name); p != model.Undeclared {
		return p
	}
	switch port {
	case 25, 53, 3306, 27017: // SMTP, DNS, MySQL, MongoDB
		return model.TCP
	default:
		return model.Undeclared
	}
}

// namedProtocol gives the protocol that an appProtocol or a port name says.
func namedProtocol(name string) model.Protocol {
	name = strings.ToLower(name)
	switch name { // the names Kubernetes itself defines for appProtocol
	case "kubernetes.io/h2c":
		return model.HTTP2
	case "kubernetes.io/ws":
		return model.HTTP
	case "kubernetes.io/wss":
		return model.TLS
	}
	if strings.HasPrefix(name, "grpc-web") {
		return model.GRPCWeb
	}
	word, _, _ := strings.Cut(name, "-")
	switch word {
	case "http", "http_proxy":
		return model.HTTP
	case "http2":
		return model.HTTP2
	case "grpc":
		return model.GRPC
	case "https", "tls":
		return model.TLS
	case "tcp", "mongo", "redis", "mysql":
		return model.TCP
	case "udp":
		// Only a name: the port carries TCP, or it would not be here. Istio does not touch such ports; treating the
		// bytes as opaque is the same to the app.
		return model.TCP
	default:
		return model.Undeclared
	}
}
