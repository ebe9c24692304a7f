package store

import "fairlead.dev/fairlead/internal/model"

// RemoteClusters are the other clusters that are followed, by their names.
const RemoteClusters Table = "remote-clusters"

// RemoteCluster is how it stands with one of them.
type RemoteCluster struct {
	Name string
	// Apart is set for one whose Services are no hosts of the mesh: only mirrors of them call its endpoints.
	Apart bool
	// Heard is set once it has said what it has.
	Heard bool
}

func remoteClusters() tableState { //nolint:ireturn // of whatever type
	return define(schema[RemoteCluster]{table: RemoteClusters, id: func(c *RemoteCluster) string { return c.Name }})
}

// SetRemoteCluster says how it stands with a cluster. One of which nothing was said is not apart.
func (tx *Txn) SetRemoteCluster(c RemoteCluster) {
	before := tx.apart(c.Name)
	to[RemoteCluster](tx).set(&c)
	tx.settle(c.Name, before)
}

// DeleteRemoteCluster is for one that is followed no longer.
func (tx *Txn) DeleteRemoteCluster(name string) {
	before := tx.apart(name)
	to[RemoteCluster](tx).remove(name)
	tx.settle(name, before)
}

// settle has the Services of a cluster be hosts, or be none, where that is another way than before.
func (tx *Txn) settle(cluster string, before bool) { //nolint:revive // what was, not what to do
	if tx.apart(cluster) == before {
		return
	}
	seen := make(map[model.Key]bool)
	for _, s := range to[RemoteService](tx).by(RemoteServicesOfCluster, cluster) {
		if !seen[s.Key] {
			seen[s.Key] = true
			tx.adopt(s.Key)
		}
	}
}

func (tx *Txn) apart(cluster string) bool {
	c, ok := to[RemoteCluster](tx).rows.Get([]byte(cluster))
	return ok && c.Apart
}

// FindRemoteCluster says how it stands with another cluster; nil where it is not followed.
func FindRemoteCluster(r *Reader, name string) *RemoteCluster { return row[RemoteCluster](r, name) }

// IsApart reports whether only mirrors call the endpoints of a cluster.
func IsApart(r *Reader, cluster string) bool {
	if cluster == "" {
		return false
	}
	c := FindRemoteCluster(r, cluster)
	return c != nil && c.Apart
}
