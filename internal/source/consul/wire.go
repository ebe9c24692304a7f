package consul

// The shapes are those of Consul's HTTP API, as far as they are read.

// catalog is the answer of /v1/catalog/services: the tags of each service.
type catalog map[string][]string

// entry is one instance of a service, an element of the answer of /v1/health/service/NAME.
type entry struct {
	Node    node
	Service service
	Checks  []check
}

type node struct {
	Node, Address, Datacenter string
	Locality                  *locality
}

type service struct {
	Kind, ID, Service, Address string
	Port                       int
	Tags                       []string
	Meta                       map[string]string
	Weights                    weights
	Locality                   *locality `json:",omitempty"`
}

type weights struct{ Passing, Warning int }

type locality struct{ Region, Zone string }

type check struct{ Status string }

// nodeServices is the answer of /v1/catalog/node-services/NODE. There are none at a node that is not there.
type nodeServices struct{ Services []service }

// registration is what /v1/catalog/register takes. A node that is there stays as it is.
type registration struct {
	Node, Address  string
	SkipNodeUpdate bool
	NodeMeta       map[string]string
	Service        service
}

// deregistration is what /v1/catalog/deregister takes. Without a ServiceID it would be all of the node.
type deregistration struct{ Node, ServiceID string }

// agentSelf is the answer of /v1/agent/self.
type agentSelf struct {
	Config struct{ Datacenter string }
}
