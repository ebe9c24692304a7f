package envoy

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// HTTP filters by their names.
const (
	faultFilter  = "envoy.filters.http.fault"
	corsFilter   = "envoy.filters.http.cors"
	routerFilter = "envoy.filters.http.router"
)

// httpFilters is the chain of outbound calls: faults come before everything, as if the mesh were broken, and the router ends
// it. CORS is a browser's matter, and none of gRPC's.
func (l listeners) httpFilters() []*hcmv3.HttpFilter {
	out := []*hcmv3.HttpFilter{httpFilter(faultFilter, &faultv3.HTTPFault{})}
	if l.c.Kind == Envoy {
		out = append(out, httpFilter(corsFilter, &corsv3.Cors{}))
	}
	return append(out, httpFilter(routerFilter, &routerv3.Router{}))
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(config)}}
}

// filterConfigs is what a rule tells the filters.
func (r rule) filterConfigs() map[string]*anypb.Any {
	out := map[string]*anypb.Any{}
	if f := injected(r.Fault); f != nil {
		out[faultFilter] = packed(f)
	}
	if r.CORS != nil && r.c.Kind == Envoy {
		out[corsFilter] = packed(cors(r.CORS))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// injected is a rule's failures, nil where there are none.
func injected(f *model.Fault) *faultv3.HTTPFault {
	if f == nil {
		return nil
	}
	out := &faultv3.HTTPFault{}
	if f.Delay > 0 && f.DelayPercent > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)}, Percentage: percent(f.DelayPercent),
		}
	}
	if f.AbortPercent > 0 && (f.AbortStatus > 0 || f.AbortGRPC != "") {
		out.Abort = &faultv3.FaultAbort{
			ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(min(max(cmp.Or(f.AbortStatus, http.StatusOK), 200), 599))}, Percentage: percent(f.AbortPercent),
		}
		if code, err := strconv.ParseUint(f.AbortGRPC, 10, 8); err == nil {
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(code)}
		}
	}
	if out.GetDelay() == nil && out.GetAbort() == nil {
		return nil
	}
	return out
}

func cors(c *model.CORS) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods: c.Methods, AllowHeaders: c.Headers, ExposeHeaders: c.Expose, AllowCredentials: wrapperspb.Bool(c.Credentials),
		ForwardNotMatchingPreflights: wrapperspb.Bool(!c.Ignore),
	}
	if c.MaxAge > 0 {
		out.MaxAge = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	}
	for _, o := range c.Origins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(o))
	}
	if len(c.Origins) == 0 { // nobody's: Envoy would take an empty list for no policy
		out.AllowOriginStringMatch = []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: ""}}}
	}
	return out
}

// manager serves HTTP by a route configuration.
func (l listeners) manager(stat, routes string) *hcmv3.HttpConnectionManager {
	out := &hcmv3.HttpConnectionManager{
		StatPrefix: stat, HttpFilters: l.httpFilters(),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: routes}},
	}
	if l.c.Kind == GRPC {
		return out
	}
	out.UseRemoteAddress, out.AccessLog = wrapperspb.Bool(false), l.accessLogs()
	out.StreamIdleTimeout = durationpb.New(cmp.Or(l.g.Limits.StreamIdle, plan.DefaultStreamIdle))
	out.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
	normalize(out, l.g.Paths)
	return out
}

// normalize makes spellings of a path one before rules look at it, as the mesh's pathNormalization says.
func normalize(out *hcmv3.HttpConnectionManager, p plan.PathNormalization) {
	out.NormalizePath = wrapperspb.Bool(p != plan.PathNone)
	switch p {
	case plan.PathBase, plan.PathNone:
	case plan.PathMergeSlashes:
		out.MergeSlashes = true
	case plan.PathDecodeAndMergeSlashes:
		out.MergeSlashes = true
		out.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
}
