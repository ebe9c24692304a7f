// Package consulsync decides which Services of the mesh are in the catalog of a Consul.
//
// In: a snapshot of the store, and what the catalog has at the node [Node]. Out: [Wanted], the instances that there are to be, and by
// [Wanted.Compare] what is to be registered and deregistered. It does neither: internal/source/consul does.
//
// The terms are those of consul-k8s: its annotations, node and metadata, and an instance for each ready endpoint. What is ours says so
// by a key of its metadata, whose value is the cluster ([Ours]); nothing else is ever changed or removed, whatever its name.
//
// All functions are pure, and what they give is bounded and sorted.
package consulsync
