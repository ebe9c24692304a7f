package model

// The annotations of consul-k8s by which a Service is to be in the catalog of a Consul.
const (
	ConsulSyncAnnotation = "consul.hashicorp.com/service-sync"
	ConsulNameAnnotation = "consul.hashicorp.com/service-name"
	ConsulPortAnnotation = "consul.hashicorp.com/service-port"
	ConsulTagsAnnotation = "consul.hashicorp.com/service-tags"
)

// ConsulEntry is what a Service is to be in the catalog of a Consul.
type ConsulEntry struct {
	Name string
	// PortName is that of a port of the Service, Port one of its pods. The first port counts where neither is said.
	PortName string
	Port     uint16
	Tags     []string
}
