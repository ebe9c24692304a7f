package envoy

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
)

const (
	defaultBackoff = 25 * time.Millisecond
	// hostAttempts is how often an endpoint is chosen anew that was tried before, as with Istio.
	hostAttempts = 5
	retriable    = "retriable-status-codes"
)

// grpcConditions are the conditions that gRPC's clients know (gRFC A44); others are left out by them.
func grpcConditions() []string {
	return []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
}

// retry says how often and on what requests are tried again; nil where they are not, and no try is bounded.
func (r rule) retry() *routev3.RetryPolicy {
	p := &r.Retry
	perTry := p.PerTryTimeout
	for _, d := range []time.Duration{r.BackendTimeout, r.ResponseTimeout} {
		if d > 0 && (perTry == 0 || d < perTry) {
			perTry = d
		}
	}
	// Envoy retries what a try's time was over for where it retries 5xx, and knows no condition of its own for it.
	on := slices.DeleteFunc(slices.Clone(p.On), func(c string) bool { return c == model.RetryOnTryTimeout })
	if len(p.Codes) > 0 && !slices.Contains(on, retriable) {
		on = append(on, retriable)
	}
	if r.c.Kind == GRPC {
		on = slices.DeleteFunc(on, func(c string) bool { return !slices.Contains(grpcConditions(), c) })
		if p.Attempts == 0 || len(on) == 0 { // num_retries of 0 is refused
			return nil
		}
	}
	if p.Attempts == 0 && perTry == 0 {
		return nil
	}
	out := &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(uint32(min(max(p.Attempts, 0), math.MaxInt32)))}
	if p.Attempts > 0 {
		backoff := max(cmp.Or(p.Backoff, defaultBackoff), time.Millisecond)
		out.RetryOn, out.RetriableStatusCodes = strings.Join(on, ","), statuses(p.Codes)
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(backoff), MaxInterval: durationpb.New(10 * backoff)}
	}
	if r.c.Kind == GRPC {
		out.RetriableStatusCodes = nil
		return out
	}
	if perTry > 0 {
		out.PerTryTimeout = durationpb.New(perTry)
	}
	if p.Attempts > 0 {
		elsewhere(out, p)
	}
	return out
}

// elsewhere has tries go to other endpoints than those before, and to other localities where the rule says so.
func elsewhere(out *routev3.RetryPolicy, p *model.Retry) {
	if !p.SameHosts {
		out.HostSelectionRetryMaxAttempts = hostAttempts
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: packed(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}}
	}
	if p.RemoteLocalities {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: packed(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
			},
		}
	}
}

// limitStreams bounds requests in the way of gRPC's clients, who do not look at Timeout (gRFC A31).
func (r rule) limitStreams(out *routev3.RouteAction) {
	if r.c.Kind != GRPC {
		return
	}
	out.Timeout, out.MaxGrpcTimeout = nil, nil //nolint:staticcheck // see action
	if r.Timeout > 0 {
		out.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(r.Timeout)}
	}
}

// hashPolicies says what makes requests alike, for those of the rule's backends that go by it.
func (r rule) hashPolicies() []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	var seen []model.HashPolicy
	for i := range r.Backends {
		b := &r.d.Backends[r.Backends[i].Backend]
		of := b.Hash
		switch {
		case b.ClientAffinity:
			of = model.HashPolicy{By: model.HashBySource}
		case !b.LB.Hashes():
			continue
		}
		same := func(s model.HashPolicy) bool { return s.By == of.By && s.Name == of.Name && s.Path == of.Path }
		if p := r.hashPolicy(&of); p != nil && !slices.ContainsFunc(seen, same) {
			seen, out = append(seen, of), append(out, p)
		}
	}
	return out
}

func (r rule) hashPolicy(h *model.HashPolicy) *routev3.RouteAction_HashPolicy {
	switch h.By {
	case model.HashByHeader:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Name},
		}}
	case model.HashBySource:
		if r.c.Kind == GRPC { // its only source is the channel (gRFC A42)
			return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
				FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: "io.grpc.channel_id"},
			}}
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	case model.HashByQuery:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Name},
		}}
	case model.HashByCookie:
		cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: h.Name, Path: h.Path}
		if h.Issue {
			cookie.Ttl = durationpb.New(h.TTL)
		}
		for _, a := range h.Attributes {
			cookie.Attributes = append(cookie.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie}}
	case model.HashByNothing:
	}
	return nil
}
