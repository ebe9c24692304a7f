package store

import "fairlead.dev/fairlead/internal/model"

// The tables of what pods are in.
const (
	Nodes      Table = "nodes" // "[cluster/]name"
	Namespaces Table = "namespaces"
)

func nodes() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Node]{table: Nodes, id: func(n *model.Node) string { return nodeID(n.Cluster, n.Name) }})
}

func namespaces() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Namespace]{table: Namespaces, id: func(n *model.Namespace) string { return n.Name }})
}

// nodeID puts a cluster before the name of one of its nodes; it has no namespace to tell them apart by.
func nodeID(cluster, name string) string { return within(cluster, name) }

// SetNode adds or replaces a node.
func (tx *Txn) SetNode(n model.Node) { to[model.Node](tx).set(&n) }

// DeleteNode removes a node, if it is there.
func (tx *Txn) DeleteNode(cluster, name string) { to[model.Node](tx).remove(nodeID(cluster, name)) }

// SetNamespace adds or replaces a namespace.
func (tx *Txn) SetNamespace(n model.Namespace) { to[model.Namespace](tx).set(&n) }

// DeleteNamespace removes a namespace, if it is there.
func (tx *Txn) DeleteNamespace(name string) { to[model.Namespace](tx).remove(name) }

// Node gives a node of a cluster, or nil.
func (r *Reader) Node(cluster, name string) *model.Node {
	id := nodeID(cluster, name)
	return row[model.Node](r, id)
}

// Namespace gives a namespace, or nil.
func (r *Reader) Namespace(name string) *model.Namespace {
	return row[model.Namespace](r, name)
}
