package call

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// The fields by which an app says how its request is to be retried, and how long it may take: Envoy's, and Linkerd's. They go no
// further than to its own sidecar, and those of a caller mean nothing to the called one: an app that hands on whatever fields it
// gets, as reverse proxies do, would let strangers say them in its name.
const (
	retryOnField     = "x-envoy-retry-on"
	retryGRPCOnField = "x-envoy-retry-grpc-on"
	maxRetriesField  = "x-envoy-max-retries"
	statusCodesField = "x-envoy-retriable-status-codes"
	headerNamesField = "x-envoy-retriable-header-names"
	hedgeField       = "x-envoy-hedge-on-per-try-timeout"

	linkerdHTTPField    = "l5d-retry-http"
	linkerdGRPCField    = "l5d-retry-grpc"
	linkerdLimitField   = "l5d-retry-limit"
	linkerdTimeoutField = "l5d-retry-timeout"

	requestTimeoutField = "x-envoy-upstream-rq-timeout-ms"
	tryTimeoutField     = "x-envoy-upstream-rq-per-try-timeout-ms"

	linkerdRequestField  = "l5d-timeout"
	linkerdRequestField2 = "l5d-request-timeout" // the same in Linkerd's newer releases, and goes first
	linkerdResponseField = "l5d-response-timeout"
)

// attemptCountField tells the called app which try it gets, from 1. It is Envoy's.
const attemptCountField = "x-envoy-attempt-count"

// wishFields are all of them.
func wishFields() []string {
	return []string{
		retryOnField, retryGRPCOnField, maxRetriesField, statusCodesField, headerNamesField, hedgeField,
		linkerdHTTPField, linkerdGRPCField, linkerdLimitField, linkerdTimeoutField,
		requestTimeoutField, tryTimeoutField, linkerdRequestField, linkerdRequestField2, linkerdResponseField,
	}
}

// mayWish reports whether there may be such a field. Most requests have none, and are not looked at any further.
func mayWish(f *httpx.Fields) bool {
	for i := range f.Len() {
		name, _ := f.At(i)
		switch {
		case len(name) > 4 && httpx.EqualFold(name[:4], "l5d-"):
			switch name[4] | 0x20 { // retry, request, response; timeout
			case 'r', 't':
				return true
			}
		case len(name) > 8 && httpx.EqualFold(name[:8], "x-envoy-"):
			switch name[8] | 0x20 { // retry, retriable; max; hedge; upstream
			case 'r', 'm', 'h', 'u':
				return true
			}
		}
	}
	return false
}

// cleanWishes takes the fields out of a request's head.
func cleanWishes(f *httpx.Fields) {
	if !mayWish(f) {
		return
	}
	for _, name := range wishFields() {
		f.Del(name)
	}
}

// maxWishedRetries bounds what a request can ask for; maxWishedNames how many fields and statuses it can list.
const (
	maxWishedRetries = 100
	maxWishedNames   = 32
)

// wished gives the policy of a request: the route's, with what the request's own head says. names are the fields of an answer
// that ask for a retry. What cannot be read is left out, as in Envoy and Linkerd. A route that is never retried stays so.
func wished(route *model.Retry, f *httpx.Fields) (policy *model.Retry, names []string) {
	if route.Attempts == 0 || !mayWish(f) {
		return route, nil
	}
	p := *route
	p.On, p.Codes = slices.Clone(p.On), slices.Clone(p.Codes)
	wishLinkerd(&p, f)
	names = wishEnvoy(&p, f)
	return &p, names
}

// wishEnvoy adds conditions to the route's, and replaces its number of attempts.
func wishEnvoy(p *model.Retry, f *httpx.Fields) (names []string) {
	for _, field := range []string{retryOnField, retryGRPCOnField} {
		for word := range words(f.Get(field)) {
			p.On = append(p.On, strings.ToLower(word))
		}
	}
	if n, err := strconv.ParseUint(string(f.Get(maxRetriesField)), 10, 32); err == nil {
		p.Attempts = int(min(n, maxWishedRetries))
	}
	if asked(p, "retriable-status-codes") {
		for word := range words(f.Get(statusCodesField)) {
			if code, err := strconv.Atoi(word); err == nil {
				p.Codes = append(p.Codes, code)
			}
		}
	}
	if asked(p, "retriable-headers") {
		for word := range words(f.Get(headerNamesField)) {
			names = append(names, word)
		}
	}
	return names
}

// wishLinkerd replaces the route's conditions on answers, its number of attempts and its time per try.
func wishLinkerd(p *model.Retry, f *httpx.Fields) {
	if codes, ok := model.LinkerdStatuses(string(f.Get(linkerdHTTPField))); ok {
		p.On = slices.DeleteFunc(p.On, func(c string) bool {
			return c == "5xx" || c == "gateway-error" || c == "retriable-4xx"
		})
		p.Codes = codes
	}
	if conditions, ok := model.LinkerdGRPCStatuses(string(f.Get(linkerdGRPCField))); ok {
		p.On = slices.DeleteFunc(p.On, func(c string) bool { return slices.Contains(model.GRPCRetryConditions(), c) })
		p.On = append(p.On, conditions...)
	}
	if n, err := strconv.ParseUint(string(f.Get(linkerdLimitField)), 10, 16); err == nil {
		p.Attempts = int(min(n, maxWishedRetries))
	}
	if d, ok := model.LinkerdDuration(string(f.Get(linkerdTimeoutField))); ok {
		p.PerTryTimeout = d
		p.On = append(p.On, model.RetryOnTryTimeout)
	}
}

// wishedTimes replaces the times of a route by those that a request's head says.
func wishedTimes(t *timeouts, f *httpx.Fields) {
	if !mayWish(f) {
		return
	}
	for _, field := range []string{linkerdRequestField, linkerdRequestField2} {
		if d, ok := model.LinkerdDuration(string(f.Get(field))); ok {
			t.request = d
		}
	}
	if d, ok := model.LinkerdDuration(string(f.Get(linkerdResponseField))); ok {
		t.response = d
	}
	if ms, ok := parseMillis(f.Get(requestTimeoutField)); ok {
		t.request = ms
	}
	if ms, ok := parseMillis(f.Get(tryTimeoutField)); ok {
		t.try = ms
	}
}

// words gives the elements of a list, at most as many as a request can ask for.
func words(list []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		n := 0
		for word := range bytes.SplitSeq(list, []byte(",")) {
			if word = bytes.TrimSpace(word); len(word) == 0 {
				continue
			}
			if n == maxWishedNames || !yield(string(word)) {
				return
			}
			n++
		}
	}
}

// countAttempt tells the app which try it gets.
func countAttempt(f *httpx.Fields, try int) {
	if try == 1 {
		f.Del(attemptCountField) // the app's own word, or that of who called it
		f.AddString(attemptCountField, "1")
		return
	}
	f.Set(attemptCountField, strconv.Itoa(try))
}
