package istio

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// maxDirectBody is Istio's limit for directResponse.body, in bytes.
const maxDirectBody = 1 << 20

// httpRule reads one rule. ok is false where the rule does not apply to the mesh or cannot be served.
func (t virtualService) httpRule(field string, in *networking.HTTPRoute) (rule model.HTTPRule, ok bool) {
	if in == nil {
		t.Reject(field, "empty", "write a rule or remove the entry")
		return rule, false
	}
	rule = model.HTTPRule{Name: in.GetName(), Field: field}
	rule.Matches, ok = t.matches(field, in.GetMatch())
	if in.GetDelegate() != nil || t.delegate {
		t.comparable(field, in.GetMatch())
	}
	if in.GetDelegate() != nil {
		rule.Delegate = t.delegation(field, in)
	} else {
		t.action(field, in)
	}
	rule.Rewrite = t.rewrite(field+".rewrite", in.GetRewrite())
	if len(in.GetRoute()) > 0 && in.GetRewrite().GetUriRegexRewrite() == nil {
		t.doubtful(field+".rewrite.uri", in.GetRewrite().GetUri(), rule.Matches)
	}
	t.headers(field+".headers", in.GetHeaders(), &rule.Headers, &rule.Rewrite)
	rule.Redirect = t.redirect(field+".redirect", in.GetRedirect(), rule.Matches)
	rule.Direct = t.direct(field+".directResponse", in.GetDirectResponse())
	rule.Backends = t.backends(field+".route", in.GetRoute())
	rule.Timeout = t.duration(field+".timeout", in.GetTimeout())
	rule.Retry = t.retry(field+".retries", in.GetRetries())
	rule.Fault = t.fault(field+".fault", in.GetFault())
	rule.Mirrors = t.mirrors(field, in)
	rule.CORS = t.cors(field+".corsPolicy", in.GetCorsPolicy())
	return rule, ok
}

// delegation reads whose rules stand in the place of the rule.
func (t virtualService) delegation(field string, in *networking.HTTPRoute) *model.Key {
	if len(in.GetRoute()) > 0 || in.GetRedirect() != nil {
		t.Reject(field+".delegate", "a rule that delegates cannot have route or redirect", "keep one of them")
	}
	if t.delegate {
		t.Reject(field+".delegate", "a delegate (an object without hosts) cannot delegate", "write the rules of the other object here")
	}
	if in.GetDirectResponse() != nil {
		t.Warn(field+".directResponse", "has no effect beside delegate", "write it in the delegate")
	}
	key := model.Key{Namespace: cmp.Or(in.GetDelegate().GetNamespace(), t.namespace), Name: in.GetDelegate().GetName()}
	if key.Name == "" {
		t.Reject(field+".delegate.name", "no name", "name the VirtualService whose rules are meant")
	}
	return &key
}

// action checks that the rule says exactly one thing to do, and nothing that does not go with it.
func (t virtualService) action(field string, in *networking.HTTPRoute) {
	var actions []string
	if len(in.GetRoute()) > 0 {
		actions = append(actions, "route")
	}
	if in.GetRedirect() != nil {
		actions = append(actions, "redirect")
	}
	if in.GetDirectResponse() != nil {
		actions = append(actions, "directResponse")
	}
	switch {
	case len(actions) == 0:
		t.Reject(field, "nothing to do", "add route, redirect or directResponse")
		return
	case len(actions) > 1:
		t.Reject(field, strings.Join(actions, " and ")+" in one rule", "keep one of them")
		return
	case len(in.GetRoute()) > 0:
		return
	}
	if in.GetFault() != nil {
		t.Reject(field+".fault", "cannot go with "+actions[0], "remove one of them")
	}
	if in.GetRewrite() != nil {
		t.Reject(field+".rewrite", "cannot go with "+actions[0], "remove one of them")
	}
}

func (t virtualService) backends(field string, in []*networking.HTTPRouteDestination) []model.WeightedBackend {
	var out []model.WeightedBackend
	for i, dst := range in {
		at := fmt.Sprintf("%s[%d]", field, i)
		if dst.GetDestination() == nil {
			t.Reject(at+".destination", "no destination", "name the host to call")
			continue
		}
		b := t.destination(at+".destination", dst.GetDestination())
		b.Weight = t.weight(at+".weight", dst.GetWeight())
		t.headers(at+".headers", dst.GetHeaders(), &b.Headers, &b.Rewrite)
		out = append(out, b)
	}
	t.weights(field, out)
	return out
}

func (t virtualService) direct(field string, in *networking.HTTPDirectResponse) *model.DirectResponse {
	if in == nil {
		return nil
	}
	out := &model.DirectResponse{Status: int(in.GetStatus())}
	if in.GetStatus() < 200 || in.GetStatus() > 599 {
		t.Reject(field+".status", fmt.Sprintf("%d is not a final status", in.GetStatus()), "write a number from 200 to 599")
	}
	switch body := in.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = []byte(body.String_)
	case *networking.HTTPBody_Bytes:
		out.Body = slices.Clone(body.Bytes)
	}
	if len(out.Body) > maxDirectBody {
		t.Reject(field+".body", fmt.Sprintf("%d bytes; the limit is %d", len(out.Body), maxDirectBody), "serve large answers from a service")
	}
	return out
}

func (t virtualService) retry(field string, in *networking.HTTPRetry) *model.Retry {
	if in == nil {
		return nil
	}
	if in.GetAttempts() < 0 {
		t.Reject(field+".attempts", fmt.Sprintf("%d is negative", in.GetAttempts()), "write 0 to switch retries off")
	}
	out := &model.Retry{
		Attempts:      int(in.GetAttempts()),
		PerTryTimeout: t.duration(field+".perTryTimeout", in.GetPerTryTimeout()),
		Backoff:       t.duration(field+".backoff", in.GetBackoff()),
	}
	if in.GetAttempts() == 0 && (in.GetRetryOn() != "" || in.GetPerTryTimeout() != nil || in.GetRetryRemoteLocalities() != nil) {
		t.Reject(field+".attempts", "0 attempts switch retries off, the rest of the block has no effect", "write how often to try again")
	}
	if in.GetRetryOn() != "" {
		out.On, out.Codes = t.retryOn(field+".retryOn", in.GetRetryOn())
	}
	out.RemoteLocalities = in.GetRetryRemoteLocalities().GetValue()
	out.SameHosts = in.GetRetryIgnorePreviousHosts() != nil && !in.GetRetryIgnorePreviousHosts().GetValue()
	return out
}

// retryConditions are Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
var retryConditions = map[string]bool{
	"5xx": true, "gateway-error": true, "reset": true, "reset-before-request": true, "connect-failure": true,
	"retriable-4xx": true, "refused-stream": true, "retriable-status-codes": true, "retriable-headers": true,
	"envoy-ratelimited": true, "http3-post-connect-failure": true,
	"cancelled": true, "deadline-exceeded": true, "internal": true, "resource-exhausted": true, "unavailable": true,
}

// retryOn splits the list; integers in it are status codes.
func (t virtualService) retryOn(field, list string) (on []string, codes []int) {
	for part := range strings.SplitSeq(list, ",") {
		if code, err := strconv.Atoi(part); err == nil {
			if http.StatusText(code) == "" {
				t.Reject(field, fmt.Sprintf("%d is not an HTTP status", code), "")
			}
			codes = append(codes, code)
			continue
		}
		known, spaced := retryConditions[part], retryConditions[strings.TrimSpace(part)]
		switch {
		case part == "":
			t.Reject(field, "an empty condition", "remove the comma")
		case !known && spaced:
			t.Reject(field, fmt.Sprintf("%q has blanks around it", part), "write the list without blanks")
		case !known:
			t.Reject(field, fmt.Sprintf("%q is not a retry condition", part),
				"the conditions are "+strings.Join(sortedKeys(retryConditions), ", ")+" and status codes")
		default:
			on = append(on, part)
		}
	}
	return on, codes
}

// faultRules reads the faults of rules.
type faultRules struct{ *report }

func (t faultRules) fault(field string, in *networking.HTTPFaultInjection) *model.Fault {
	if in == nil {
		return nil
	}
	if in.GetDelay() == nil && in.GetAbort() == nil {
		t.Reject(field, "nothing to inject", "add delay or abort")
		return nil
	}
	out := &model.Fault{}
	if in.GetDelay() != nil {
		t.delay(field+".delay", in.GetDelay(), out)
	}
	if in.GetAbort() != nil {
		t.abort(field+".abort", in.GetAbort(), out)
	}
	return out
}

func (t faultRules) delay(field string, in *networking.HTTPFaultInjection_Delay, out *model.Fault) {
	switch d := in.GetHttpDelayType().(type) {
	case *networking.HTTPFaultInjection_Delay_FixedDelay:
		out.Delay = t.duration(field+".fixedDelay", d.FixedDelay)
	case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
		t.Reject(field+".exponentialDelay", "does not exist yet, in Istio neither", "write fixedDelay")
		return
	case nil:
		t.Warn(field, "without fixedDelay it has no effect", "write how long to wait")
		return
	}
	out.DelayPercent = t.share(field, in.GetPercentage(), in.GetPercent()) //nolint:staticcheck // percent is deprecated and still written
}

func (t faultRules) abort(field string, in *networking.HTTPFaultInjection_Abort, out *model.Fault) {
	switch e := in.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if e.HttpStatus < 200 || e.HttpStatus > 599 {
			t.Reject(field+".httpStatus", fmt.Sprintf("%d is not a final status", e.HttpStatus), "write a number from 200 to 599")
		}
		out.AbortStatus = int(e.HttpStatus)
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code := slices.Index(grpcCodes(), e.GrpcStatus)
		if code < 0 {
			t.Reject(field+".grpcStatus", fmt.Sprintf("%q is not a gRPC status", e.GrpcStatus), `such as "UNAVAILABLE"`)
			return
		}
		out.AbortGRPC = strconv.Itoa(code)
		out.AbortStatus = model.GRPCHTTPStatus(out.AbortGRPC)
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		t.Reject(field+".http2Error", "does not exist yet, in Istio neither", "write httpStatus")
		return
	case nil:
		t.Warn(field, "without httpStatus it has no effect", "write what to answer")
		return
	}
	out.AbortPercent = t.share(field, in.GetPercentage(), 0)
}

// grpcCodes are the names of gRPC's status codes (google.rpc.Code), each at its number.
func grpcCodes() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}

// leastShare is the smallest share of requests that Envoy's fractions can tell from none, in percent.
const leastShare = 0.0001

// share reads how many requests a fault hits; percent is the deprecated whole number.
func (t faultRules) share(field string, percentage *networking.Percent, percent int32) float64 {
	at, value := field+".percent", float64(percent)
	if percentage != nil {
		at, value = field+".percentage.value", percentage.GetValue()
	}
	got, ok := t.percent(at, value)
	switch {
	case !ok:
	case got == 0:
		t.Warn(field+".percentage", "missing or 0: no request is affected", "write percentage: {value: 100} for all")
	case got < leastShare:
		t.Reject(at, fmt.Sprintf("%v is too small to be told from 0", got), fmt.Sprintf("write at least %v", leastShare))
	}
	return got
}

// mirrors reads mirror with its percentage, or mirrors. A share of 0 switches a mirror off.
func (t virtualService) mirrors(field string, in *networking.HTTPRoute) []model.Mirror {
	if in.GetMirror() != nil && len(in.GetMirrors()) > 0 {
		t.Reject(field, "both mirror and mirrors", "keep mirrors")
	}
	var out []model.Mirror
	add := func(at string, dst *networking.Destination, percent float64) {
		if b := t.destination(at, dst); percent > 0 {
			out = append(out, model.Mirror{Backend: b, Percent: percent})
		}
	}
	if in.GetMirror() != nil {
		percent := 100.0
		if in.GetMirrorPercent() != nil { //nolint:staticcheck // deprecated and still written
			percent, _ = t.percent(field+".mirrorPercent", float64(in.GetMirrorPercent().GetValue())) //nolint:staticcheck // as above
		}
		if in.GetMirrorPercentage() != nil {
			percent, _ = t.percent(field+".mirrorPercentage.value", in.GetMirrorPercentage().GetValue())
		}
		add(field+".mirror", in.GetMirror(), percent)
	}
	for i, m := range in.GetMirrors() {
		at := fmt.Sprintf("%s.mirrors[%d]", field, i)
		if m.GetDestination() == nil {
			t.Reject(at+".destination", "no destination", "name the host to call")
			continue
		}
		percent := 100.0
		if m.GetPercentage() != nil {
			percent, _ = t.percent(at+".percentage.value", m.GetPercentage().GetValue())
		}
		add(at+".destination", m.GetDestination(), percent)
	}
	return out
}
