package admin

// RemoteCluster is how it stands with another cluster of the mesh: /debug/clusterz, the first three by Istio's names.
type RemoteCluster struct {
	ID         string `json:"id"`
	SecretName string `json:"secretName"`
	SyncStatus string `json:"syncStatus"`
	// AgeSeconds is how old what is known of it may be; 0 where it is followed.
	AgeSeconds float64 `json:"ageSeconds"`
	Cause      string  `json:"cause,omitempty"`
	Objects    int     `json:"objects"`
	// Istiod is the replica that says so; Istio's name of it.
	Istiod string `json:"istiod,omitempty"`
}
