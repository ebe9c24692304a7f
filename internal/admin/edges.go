package admin

import (
	"context"
	"net/url"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// pathEdges is where a replica of the control plane says who called whom.
const pathEdges = "/debug/edgez"

// Edges is what a replica of the control plane knows of the traffic in the window of time until now. Of a namespace it is the
// edges that touch it; an empty one means all.
func (c Client) Edges(ctx context.Context, window time.Duration, namespace string) (traffic.Answer, error) {
	query := url.Values{"window": {window.String()}, "namespace": {namespace}}
	return read[traffic.Answer](ctx, c, pathEdges+"?"+query.Encode())
}
