package store

import "fairlead.dev/fairlead/internal/model"

// The tables of what pods are in.
const (
	Nodes      Table = "nodes"      // "[cluster/]name"
	Namespaces Table = "namespaces" // as Nodes
)

func nodes() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Node]{table: Nodes, id: func(n *model.Node) string { return ofCluster(n.Cluster, n.Name) }})
}

func namespaces() tableState { //nolint:ireturn // of whatever type
	return define(schema[model.Namespace]{table: Namespaces, id: func(n *model.Namespace) string { return ofCluster(n.Cluster, n.Name) }})
}

// ofCluster puts a cluster before the name of one of its nodes or namespaces.
func ofCluster(cluster, name string) string { return within(cluster, name) }

// SetNode adds or replaces a node.
func (tx *Txn) SetNode(n model.Node) { to[model.Node](tx).set(&n) }

// DeleteNode removes a node, if it is there.
func (tx *Txn) DeleteNode(cluster, name string) { to[model.Node](tx).remove(ofCluster(cluster, name)) }

// SetNamespace adds or replaces a namespace.
func (tx *Txn) SetNamespace(n model.Namespace) { to[model.Namespace](tx).set(&n) }

// DeleteNamespace removes a namespace, if it is there.
func (tx *Txn) DeleteNamespace(cluster, name string) {
	to[model.Namespace](tx).remove(ofCluster(cluster, name))
}

// Node gives a node of a cluster, or nil.
func (r *Reader) Node(cluster, name string) *model.Node {
	id := ofCluster(cluster, name)
	return row[model.Node](r, id)
}

// Namespace gives a namespace of a cluster, or nil.
func (r *Reader) Namespace(cluster, name string) *model.Namespace {
	id := ofCluster(cluster, name)
	return row[model.Namespace](r, id)
}
