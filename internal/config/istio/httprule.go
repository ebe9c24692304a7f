package istio

import (
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
	if in.GetDelegate() != nil {
		t.delegate(field, in)
		return rule, false
	}
	t.action(field, in)
	rule.Rewrite = t.rewrite(field+".rewrite", in.GetRewrite())
	t.headers(field+".headers", in.GetHeaders(), &rule.Headers, &rule.Rewrite)
	rule.Redirect = t.redirect(field+".redirect", in.GetRedirect(), rule.Matches)
	rule.Direct = t.direct(field+".directResponse", in.GetDirectResponse())
	rule.Backends = t.backends(field+".route", in.GetRoute())
	rule.Timeout = t.duration(field+".timeout", in.GetTimeout())
	rule.Retry = t.retry(field+".retries", in.GetRetries())
	rule.Fault = t.fault(field+".fault", in.GetFault())
	rule.Mirrors = t.mirrors(field, in)
	if in.GetCorsPolicy() != nil {
		t.Unsupported(field + ".corsPolicy")
	}
	return rule, ok
}

func (t virtualService) delegate(field string, in *networking.HTTPRoute) {
	if len(in.GetRoute()) > 0 || in.GetRedirect() != nil || in.GetDirectResponse() != nil {
		t.Reject(field+".delegate", "a rule that delegates cannot have route, redirect or directResponse", "keep one of them")
	}
	t.Warn(field+".delegate", "not supported by Fairlead: the rule is left out, requests go on to the rules below it",
		"write the delegate's rules here")
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

func (t virtualService) rewrite(field string, in *networking.HTTPRewrite) *model.Rewrite {
	if in == nil {
		return nil
	}
	out := &model.Rewrite{Authority: in.GetAuthority()}
	switch regex := in.GetUriRegexRewrite(); {
	case regex != nil && in.GetUri() != "":
		t.Reject(field, "both uri and uriRegexRewrite", "keep one of them")
	case regex != nil:
		t.regexRewrite(field+".uriRegexRewrite", regex)
		out.Regex, out.Substitution = regex.GetMatch(), regex.GetRewrite()
	case in.GetUri() != "":
		out.Path, out.HasPath, out.ReplacePrefix = in.GetUri(), true, true
	case in.GetAuthority() == "":
		t.Reject(field, "nothing to rewrite", "add uri, authority or uriRegexRewrite")
	}
	return out
}

func (t virtualService) regexRewrite(field string, in *networking.RegexRewrite) {
	if in.GetMatch() == "" || in.GetRewrite() == "" {
		t.Reject(field, "match and rewrite are both needed", "write both")
		return
	}
	re, err := model.CompileSearchRegex(in.GetMatch())
	if err != nil {
		t.Reject(field+".match", err.Error(), "patterns are RE2 (https://github.com/google/re2/wiki/Syntax)")
		return
	}
	if group := maxGroup(in.GetRewrite()); group > re.NumSubexp() {
		t.Reject(field+".rewrite", fmt.Sprintf("\\%d names a group that match does not have", group),
			fmt.Sprintf("match has %d groups", re.NumSubexp()))
	}
}

// maxGroup is the highest group that a substitution such as "/\1/\2" names.
func maxGroup(substitution string) int {
	highest := 0
	for i := 0; i+1 < len(substitution); i++ {
		if substitution[i] != '\\' {
			continue
		}
		i++
		if c := substitution[i]; '0' <= c && c <= '9' {
			highest = max(highest, int(c-'0'))
		}
	}
	return highest
}

func (t virtualService) redirect(field string, in *networking.HTTPRedirect, matches []model.HTTPMatch) *model.Redirect {
	if in == nil {
		return nil
	}
	out := &model.Redirect{Scheme: in.GetScheme(), Authority: in.GetAuthority(), Code: http.StatusMovedPermanently}
	switch {
	case in.GetUri() != "" && in.GetPrefixRewrite() != "":
		t.Reject(field, "both uri and prefixRewrite", "keep one of them")
	case in.GetPrefixRewrite() != "":
		out.Path, out.HasPath, out.ReplacePrefix = in.GetPrefixRewrite(), true, true
		if !slices.ContainsFunc(matches, matchesPrefix) {
			t.Warn(field+".prefixRewrite", "no match of the rule is a uri prefix", "match on uri.prefix")
		}
	case in.GetUri() != "":
		out.Path, out.HasPath = in.GetUri(), true
	case in.GetScheme() == "" && in.GetAuthority() == "" && in.RedirectPort == nil:
		t.Reject(field, "redirects every request to itself", "add uri, prefixRewrite, authority, scheme or port")
	}
	switch port := in.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		out.Port = t.port(field+".port", port.Port)
	case *networking.HTTPRedirect_DerivePort:
		out.PortMode = model.PortFromProtocolDefault
		if port.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			out.PortMode = model.PortFromRequest
		}
	}
	switch in.GetRedirectCode() {
	case 0:
	case 301, 302, 303, 307, 308:
		out.Code = int(in.GetRedirectCode())
	default:
		t.Reject(field+".redirectCode", fmt.Sprintf("%d is not a redirect", in.GetRedirectCode()), "write 301, 302, 303, 307 or 308")
	}
	return out
}

func matchesPrefix(m model.HTTPMatch) bool { return m.URI != nil && m.URI.Kind == model.Prefix }

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
	if in.GetAttempts() == 0 && (in.GetRetryOn() != "" || in.GetPerTryTimeout() != nil) {
		t.Warn(field+".attempts", "0 attempts switch retries off, the rest of the block has no effect", "write how often to try again")
	}
	if in.GetRetryOn() != "" {
		out.On, out.Codes = t.retryOn(field+".retryOn", in.GetRetryOn())
	}
	if in.GetRetryIgnorePreviousHosts() != nil && !in.GetRetryIgnorePreviousHosts().GetValue() {
		t.Warn(field+".retryIgnorePreviousHosts", "false has no effect: a retry always prefers an endpoint that was not tried", "")
	}
	return out
}

// retryConditions are Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on; false marks those that cannot do anything
// here because what they depend on cannot be written in a VirtualService.
var retryConditions = map[string]bool{
	"5xx": true, "gateway-error": true, "reset": true, "reset-before-request": true, "connect-failure": true,
	"retriable-4xx": true, "refused-stream": true, "retriable-status-codes": true,
	"cancelled": true, "deadline-exceeded": true, "internal": true, "resource-exhausted": true, "unavailable": true,
	"retriable-headers": false, "envoy-ratelimited": false, "http3-post-connect-failure": false,
}

// retryOn splits the list; integers in it are status codes.
func (t virtualService) retryOn(field, list string) (on []string, codes []int) {
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if code, err := strconv.Atoi(part); err == nil {
			if http.StatusText(code) == "" {
				t.Reject(field, fmt.Sprintf("%d is not an HTTP status", code), "")
			}
			codes = append(codes, code)
			continue
		}
		works, known := retryConditions[part]
		switch {
		case !known:
			t.Reject(field, fmt.Sprintf("%q is not a retry condition", part),
				"the conditions are "+strings.Join(sortedKeys(retryConditions), ", ")+" and status codes")
		case !works:
			t.Warn(field, fmt.Sprintf("%q has no effect", part), "")
		default:
			on = append(on, part)
		}
	}
	return on, codes
}

func (t virtualService) fault(field string, in *networking.HTTPFaultInjection) *model.Fault {
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

func (t virtualService) delay(field string, in *networking.HTTPFaultInjection_Delay, out *model.Fault) {
	switch d := in.GetHttpDelayType().(type) {
	case *networking.HTTPFaultInjection_Delay_FixedDelay:
		out.Delay = t.duration(field+".fixedDelay", d.FixedDelay)
	case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
		t.Unsupported(field + ".exponentialDelay")
		return
	case nil:
		t.Reject(field, "no fixedDelay", "write how long to wait")
		return
	}
	out.DelayPercent = t.share(field, in.GetPercentage(), in.GetPercent()) //nolint:staticcheck // percent is deprecated and still written
}

func (t virtualService) abort(field string, in *networking.HTTPFaultInjection_Abort, out *model.Fault) {
	switch e := in.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if e.HttpStatus < 200 || e.HttpStatus > 599 {
			t.Reject(field+".httpStatus", fmt.Sprintf("%d is not a final status", e.HttpStatus), "write a number from 200 to 599")
		}
		out.AbortStatus = int(e.HttpStatus)
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		t.Unsupported(field + ".grpcStatus")
		return
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		t.Unsupported(field + ".http2Error")
		return
	case nil:
		t.Reject(field, "no httpStatus", "write what to answer")
		return
	}
	out.AbortPercent = t.share(field, in.GetPercentage(), 0)
}

// share reads how many requests a fault hits; percent is the deprecated whole number.
func (t virtualService) share(field string, percentage *networking.Percent, percent int32) float64 {
	got := t.percent(field+".percent", float64(percent))
	if percentage != nil {
		got = t.percent(field+".percentage.value", percentage.GetValue())
	}
	if got == 0 {
		t.Warn(field+".percentage", "missing or 0: no request is affected", "write percentage: {value: 100} for all")
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
			percent = t.percent(field+".mirrorPercent", float64(in.GetMirrorPercent().GetValue())) //nolint:staticcheck // as above
		}
		if in.GetMirrorPercentage() != nil {
			percent = t.percent(field+".mirrorPercentage.value", in.GetMirrorPercentage().GetValue())
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
			percent = t.percent(at+".percentage.value", m.GetPercentage().GetValue())
		}
		add(at+".destination", m.GetDestination(), percent)
	}
	return out
}
