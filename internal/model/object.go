package model

import (
	"cmp"
	"fmt"
	"strings"
)

// Hostname is a DNS name in lower case, fully qualified, without a trailing dot. "*", "*.suffix" and wildcards inside the
// first label, "*suffix", are wildcards where a field allows them.
type Hostname string

// Wildcard reports whether h stands for more than one name.
func (h Hostname) Wildcard() bool { return strings.HasPrefix(string(h), "*") }

// Partial reports whether h is a wildcard inside a label: "*-v1.example.com" is for all names that end like it, of whatever
// depth, as in Istio.
func (h Hostname) Partial() bool { return len(h) > 1 && h[0] == '*' && h[1] != '.' }

// Covers reports whether name is h itself or, where h is a wildcard, a longer name that ends like it.
func (h Hostname) Covers(name Hostname) bool {
	if h == "*" || h == name {
		return true
	}
	suffix, ok := strings.CutPrefix(string(h), "*")
	return ok && strings.HasSuffix(string(name), suffix) && len(name) > len(suffix)
}

// Key names an object inside its kind.
type Key struct{ Namespace, Name string }

// String gives "namespace/name", or the bare name of a cluster-scoped object.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Compare orders keys by namespace, then name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Name, o.Name))
}

// ClusterKey names an object that is another one in each cluster, as pods and slices are: their names say nothing across
// clusters, while Services and configuration of one name are one. Cluster is empty for the control plane's own.
type ClusterKey struct {
	Cluster string
	Key
}

// String gives "namespace/name", before it the cluster where that is another one: "east/namespace/name".
func (k ClusterKey) String() string {
	if k.Cluster == "" {
		return k.Key.String()
	}
	return k.Cluster + "/" + k.Key.String()
}

// Compare orders keys by namespace, then name, then cluster.
func (k ClusterKey) Compare(o ClusterKey) int {
	return cmp.Or(k.Key.Compare(o.Key), cmp.Compare(k.Cluster, o.Cluster))
}

// Ref names an object of any kind. Kind is the bare kind ("VirtualService"): no two kinds that Fairlead reads
// share it. Cluster is where it was read, empty for the control plane's own.
type Ref struct {
	Kind string
	Key
	Cluster string
}

// InCluster is the key of an object that is another one in each cluster.
func (r Ref) InCluster() ClusterKey { return ClusterKey{Cluster: r.Cluster, Key: r.Key} }

// String gives "VirtualService myapp/users-service", the form every message uses, and the cluster where it is another one.
func (r Ref) String() string {
	if r.Cluster == "" {
		return r.Kind + " " + r.Key.String()
	}
	return r.Kind + " " + r.Key.String() + " of cluster " + r.Cluster
}

// Position is where an object or a field was written. Line counts from 1; 0 means unknown. Objects that come
// from an API server have none.
type Position struct {
	File string
	Line int
}

// String gives "file:line", "file", or "".
func (p Position) String() string {
	if p.File == "" || p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Severity says what a Problem did to the object.
type Severity uint8

// The severities. The zero value is invalid.
const (
	// Rejected: the object was refused, its last good version (if any) stays in force.
	Rejected Severity = iota + 1
	// Warning: the object is in force, but a part of it cannot do what it says.
	Warning
)

// String gives the word the CLI prints.
func (s Severity) String() string {
	switch s {
	case Rejected:
		return "error"
	case Warning:
		return "warning"
	}
	return "unset"
}

// Problem is one thing wrong with one object, in words for the operator.
type Problem struct {
	Ref      Ref
	Severity Severity
	// Field is the path of the offending field as the user wrote it, such as "spec.http[0].route[1].destination.host".
	// It is empty where the whole object is meant.
	Field string
	// Message says what is wrong, naming the value; Fix says what to write instead, or is empty.
	Message, Fix string
	// Missing is set where the field refers to something that is not there.
	Missing bool
	// Unguarded is set where the object says which calls to deny and nothing denies them.
	Unguarded bool
	Pos       Position
}

// String gives the one line a user sees:
//
//	file.yaml:12: error: DestinationRule myapp/users-service: metadata: missing (did you mean "metadata:" …)
func (p Problem) String() string {
	var b strings.Builder
	if at := p.Pos.String(); at != "" {
		b.WriteString(at + ": ")
	}
	b.WriteString(p.Severity.String() + ": " + p.Ref.String() + ": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString(" (" + p.Fix + ")")
	}
	return b.String()
}
