package admin

import "context"

// LinkedCluster is a cluster that a Link names: /debug/mirrorz, the first four by Linkerd's names.
type LinkedCluster struct {
	ClusterName string `json:"clusterName"`
	// Alive is nil where the Link names no gateway: nobody is asked, and its pods are called directly.
	Alive            *bool `json:"alive"`
	NumberOfServices int   `json:"numberOfServices"`
	// LatencyMS is nil where no gateway that is alive has been asked.
	LatencyMS *float64 `json:"latency"`
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

// Sum says of the cluster what is known of its gateways: it is alive if one of them is, and as far away as the nearest of these.
func (c *LinkedCluster) Sum() {
	for i := range c.Gateways {
		g := &c.Gateways[i]
		alive := g.Alive || c.Alive != nil && *c.Alive
		c.Alive = &alive
		if g.Alive && g.LatencyMS > 0 && (c.LatencyMS == nil || g.LatencyMS < *c.LatencyMS) {
			c.LatencyMS = &g.LatencyMS
		}
	}
}

// Links are the clusters that Links name, as a replica of the control plane finds them.
func (c Client) Links(ctx context.Context) ([]LinkedCluster, error) {
	return read[[]LinkedCluster](ctx, c, pathMirrors)
}
