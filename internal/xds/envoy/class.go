package envoy

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// Kind is what a client is.
type Kind uint8

// The kinds. The zero value is for what is the same for all of them.
const (
	// Envoy beside an app.
	Envoy Kind = iota + 1
	// GRPC is an app that calls by its own library.
	GRPC
)

// String gives the word in a class.
func (k Kind) String() string {
	switch k {
	case Envoy:
		return "envoy"
	case GRPC:
		return "grpc"
	}
	return ""
}

// Class is what clients have in common who are told the same. Empty parts are not known, or make no difference.
type Class struct {
	Kind Kind
	// Namespace is known of every client.
	Namespace string
	// Pod is the client's own: for what it does for calls to itself.
	Pod string
	// Labels are the pod's: rules may be for some callers only, and priorities may go by them.
	Labels map[string]string
	// Locality and Node are where it runs, in Network.
	Locality      model.Locality
	Node, Network string
	// Capture means that an Envoy is a sidecar: the kernel gives it the connections of its app, and it has a certificate.
	// Otherwise it listens where apps are told to call it, on loopback.
	Capture bool
	// Inbound is what is done for calls to the app, see describeInbound: what is left of Pod where it makes a difference.
	Inbound string
	// Own leaves only what is for calls to the app itself on the list of Everything.
	Own bool
}

// Keys of the text form; labels have their own prefix.
const (
	keyKind, keyNamespace, keyPod, keyCapture = "kind", "ns", "pod", "capture"
	keyInbound, keyOwn                        = "in", "own"
	keyRegion, keyZone, keySubZone            = "region", "zone", "subzone"
	keyNode, keyNetwork                       = "node", "network"
	keyLabel                                  = "label."
)

// String gives the class as text without blanks, one for each class: the namespace of a graph.Key.
func (c Class) String() string {
	v := url.Values{}
	put := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	put(keyKind, c.Kind.String())
	put(keyNamespace, c.Namespace)
	put(keyPod, c.Pod)
	put(keyRegion, c.Locality.Region)
	put(keyZone, c.Locality.Zone)
	put(keySubZone, c.Locality.SubZone)
	put(keyNode, c.Node)
	put(keyNetwork, c.Network)
	put(keyInbound, c.Inbound)
	for name, value := range c.Labels {
		v.Set(keyLabel+name, value)
	}
	if c.Capture {
		v.Set(keyCapture, "1")
	}
	if c.Own {
		v.Set(keyOwn, "1")
	}
	return v.Encode()
}

// ParseClass reads what String gives; ok is false for everything else.
func ParseClass(s string) (c Class, ok bool) {
	v, err := url.ParseQuery(s)
	if err != nil {
		return c, false
	}
	c = Class{
		Namespace: v.Get(keyNamespace), Pod: v.Get(keyPod), Node: v.Get(keyNode), Network: v.Get(keyNetwork),
		Locality: model.Locality{Region: v.Get(keyRegion), Zone: v.Get(keyZone), SubZone: v.Get(keySubZone)},
		Capture:  v.Has(keyCapture), Inbound: v.Get(keyInbound), Own: v.Has(keyOwn),
	}
	for _, k := range []Kind{Envoy, GRPC} {
		if v.Get(keyKind) == k.String() {
			c.Kind = k
		}
	}
	for key := range v {
		if name, label := strings.CutPrefix(key, keyLabel); label {
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[name] = v.Get(key)
		}
	}
	return c, c.String() == s
}

// site is where the clients, which are of the cluster, are, as a localityLbSetting sees them.
func (c Class) site(cluster string) model.Site {
	topology := model.Topology{Locality: c.Locality, Cluster: cluster, Node: c.Node}
	return model.Site{Locality: c.Locality, Label: func(name string) string {
		if v, ok := topology.Label(name); ok {
			return v
		}
		if v := c.Labels[name]; v != "" || name != model.LabelNetwork {
			return v
		}
		return c.Network
	}}
}

// only keeps those of the labels.
func only(labels map[string]string, names []string) map[string]string {
	out := maps.Clone(labels)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return !slices.Contains(names, name)
	})
	if len(out) == 0 {
		return nil
	}
	return out
}
