package admin

import "context"

// LinkedCluster is a cluster that a Link names: /debug/mirrorz, the first four by Linkerd's names.
type LinkedCluster struct {
	ClusterName      string  `json:"clusterName"`
	Alive            bool    `json:"alive"`
	NumberOfServices int     `json:"numberOfServices"`
	LatencyMS        float64 `json:"latency"`
	// Link is the object, Gateways what it names.
	Link     string          `json:"link"`
	Gateways []LinkedGateway `json:"gateways"`
	// Unmirrored says of which Services that the Link selects there is no mirror, and why.
	Unmirrored []string `json:"unmirrored,omitempty"`
}

// LinkedGateway is one gateway of such a cluster.
type LinkedGateway struct {
	Address   string  `json:"address"`
	Alive     bool    `json:"alive"`
	LatencyMS float64 `json:"latency"`
	// Cause says why the last probe failed.
	Cause string `json:"cause,omitempty"`
}

// Links are the clusters that Links name, as a replica of the control plane finds them.
func (c Client) Links(ctx context.Context) ([]LinkedCluster, error) {
	return read[[]LinkedCluster](ctx, c, pathMirrors)
}
