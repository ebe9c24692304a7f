package xds

import "context"

// Type is a kind of resource. The order is that in which a client can use them: each refers to those before it.
type Type uint8

// The types that are served.
const (
	Cluster Type = iota + 1
	Endpoints
	Listener
	Routes
	types // one more than the last
)

const urlPrefix = "type.googleapis.com/"

// URL gives the type URL of the resources.
func (t Type) URL() string {
	switch t {
	case Cluster:
		return urlPrefix + "envoy.config.cluster.v3.Cluster"
	case Endpoints:
		return urlPrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	case Listener:
		return urlPrefix + "envoy.config.listener.v3.Listener"
	case Routes:
		return urlPrefix + "envoy.config.route.v3.RouteConfiguration"
	case types:
	}
	return ""
}

// String gives the type as istioctl calls it.
func (t Type) String() string {
	switch t {
	case Cluster:
		return "CDS"
	case Endpoints:
		return "EDS"
	case Listener:
		return "LDS"
	case Routes:
		return "RDS"
	case types:
	}
	return ""
}

// whole reports whether a response of the state of the world holds everything, so that what is not in it is gone.
func (t Type) whole() bool { return t == Cluster || t == Listener }

// TypeOf finds the type of a URL; 0 where it is not served.
func TypeOf(url string) Type {
	for t := Cluster; t < types; t++ {
		if t.URL() == url {
			return t
		}
	}
	return 0
}

// All is the name that stands for all resources of a type that a view has.
const All = "*"

// View is what clients share that are told the same. The Source knows what is in it.
type View string

// Key is a name of a type as the clients of one view see it.
type Key struct {
	View View
	Type Type
	Name string
}

// Resource is one encoded resource. It is immutable.
type Resource struct {
	// Name is the one that clients know it by. Version is a hash of Body: equal bodies have equal versions on every replica.
	Name, Version string
	// Body is the resource's message, without the Any around it.
	Body []byte
}

// Source is what a Server serves. Its methods are called from many goroutines. A source that has something new calls
// Server.Changed, holding no lock that these methods take.
type Source interface {
	// Watch begins to watch keys and returns when there is an answer for each. Every watch of a key is undone by one
	// Unwatch. After an error nothing is watched. No more than a few hundred keys come at a time.
	Watch(ctx context.Context, keys []Key) error
	Unwatch(keys []Key)
	// Answers gives the newest answers for watched keys, all of one moment.
	Answers(keys []Key) []Answer
}

// Answer is what a key leads to: the resource of its name, or for All all of them; nothing where there is none. It is
// immutable.
type Answer struct {
	Resources []Resource
	// Unknown is set where the key is not watched or has no answer yet.
	Unknown bool
}
