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
	Locality                   *locality
}

type weights struct{ Passing, Warning int }

type locality struct{ Region, Zone string }

type check struct{ Status string }

// agentSelf is the answer of /v1/agent/self.
type agentSelf struct {
	Config struct{ Datacenter string }
}
