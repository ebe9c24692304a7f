// Package remote keeps the other clusters of a mesh: which there are, what each of them says, and how old that is.
//
// In: declarations, each a name and how to follow the cluster, by whatever declares them (Secrets, a directory), and what the
// sources of these clusters say. Out: changes whose objects have the name of their cluster, for the sink, and the status of
// each cluster.
//
// A cluster that is away, slow, refuses or talks nonsense changes nothing: what it said last stays, however long ago that was,
// and the status has the age and the cause. What is known of a cluster that is no longer declared is deleted at once. While a
// cluster is followed in another way than before, by other credentials, its objects stay until it is known which there are
// now. Nothing waits for a cluster, except [Set.Settle], which waits a given time and no longer.
//
// A Set is safe for concurrent use. Each cluster has a goroutine, which [Set.Run] joins. The sink is called with a lock held,
// so that it sees the deletes of a cluster after everything that the cluster said: it must not block and not call back.
//
// To debug: /debug/clusterz on the monitor port of the control plane, or "fairlead remote-clusters".
package remote
