package compile

import (
	"fmt"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// skew is from how many times an even share on an endpoint is said to get too much.
const skew = 3

// skewed reports parts of the calls that come down on a few of a host's endpoints. It is known of distribute alone: what
// levels lead to depends on how many callers are where.
func (c *checker) skewed(p *model.DestinationPolicy, s *model.Service) {
	if p.Default.Locality == nil || p.Default.Locality.Off || len(p.Default.Locality.Distribute) == 0 {
		return
	}
	at, total := c.readyAt(s)
	for i, d := range p.Default.Locality.Distribute {
		for _, share := range d.To {
			n := 0
			for l, ready := range at {
				if share.To.Covers(l) {
					n += ready
				}
			}
			if n == 0 || int(share.Percent)*total <= skew*100*n {
				continue
			}
			c.warn(p.Ref, fmt.Sprintf("spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[%d].to[%s]", i, share.To),
				fmt.Sprintf("%d %% of the calls from %s go to %d of the %d ready endpoints of %s: %.1f times an even share for each",
					share.Percent, d.From, n, total, s.Host, float64(share.Percent)*float64(total)/100/float64(n)),
				"add endpoints there, or lower the share")
		}
	}
}

// readyAt counts the ready endpoints of a service by where they are.
func (c *checker) readyAt(s *model.Service) (at map[model.Locality]int, total int) {
	at = map[model.Locality]int{}
	g := endpointShards{c.as(s.Key.Namespace)}.group(s, &model.ServicePort{})
	count := func(endpoints []plan.Endpoint) {
		for i := range endpoints {
			if endpoints[i].Health == plan.Healthy {
				at[endpoints[i].Locality]++
				total++
			}
		}
	}
	if !isKubernetes(s) {
		count(g.static(s.Endpoints))
		return at, total
	}
	for _, k := range c.r.SlicesOfService(s.Key) {
		slice := c.r.Slice(k)
		for number := 1; slice != nil && inParts(len(slice.Endpoints), number); number++ {
			count(g.slice(slice, number, 1))
		}
	}
	return at, total
}
