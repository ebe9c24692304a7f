package model

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Linkerd's words for what is retried stand in annotations of Services and routes, and in fields of requests.

// GRPCRetryConditions are the gRPC statuses that a retry policy can name, in Envoy's and Linkerd's spelling.
func GRPCRetryConditions() []string {
	return []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
}

// LinkerdStatuses reads a list of HTTP statuses: "504", "500-504", "gateway-error", "5xx". ok is false for an empty one,
// and for one of which a part cannot be read.
func LinkerdStatuses(list string) (codes []int, ok bool) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, ok := linkerdRange(strings.ToLower(strings.TrimSpace(part)))
		if !ok {
			return nil, false
		}
		for code := first; code <= last; code++ {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes), true
}

func linkerdRange(part string) (first, last int, ok bool) {
	switch part {
	case "gateway-error":
		return 502, 504, true
	case "5xx":
		return 500, 599, true
	}
	from, to, ranged := strings.Cut(part, "-")
	if !ranged {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	return first, last, err1 == nil && err2 == nil && first >= 100 && first <= last && last <= 599
}

// LinkerdGRPCStatuses reads a list of gRPC statuses. ok is as of LinkerdStatuses.
func LinkerdGRPCStatuses(list string) (conditions []string, ok bool) {
	for part := range strings.SplitSeq(list, ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if !slices.Contains(GRPCRetryConditions(), part) {
			return nil, false
		}
		conditions = append(conditions, part)
	}
	return conditions, true
}

// LinkerdPolicy is what annotations of a Service or a route say in Linkerd's words. What they do not say is unset.
type LinkerdPolicy struct {
	Retry *Retry
	LinkerdTimes
}

// LinkerdTimes bound a request with all its tries, each try, which is the last one where its time is up, and how long
// nothing of a request may move. 0 is no bound.
type LinkerdTimes struct{ Request, Response, Idle time.Duration }

// The annotations. Those of retries on a route override all of the parent Service's as soon as there is one, and so do those of
// timeouts (https://linkerd.io/2/reference/retries, https://linkerd.io/2/reference/timeouts).
const (
	linkerdRetry   = "retry.linkerd.io/"
	linkerdTimeout = "timeout.linkerd.io/"
)

// LinkerdTakes says which conditions the annotations of an object may name.
type LinkerdTakes struct{ HTTP, GRPC bool }

// ReadLinkerdPolicy reads the annotations of an object. One that cannot be read is a warning, and as if it were not there.
func ReadLinkerdPolicy(r *Report, annotations map[string]string, takes LinkerdTakes) LinkerdPolicy {
	l := linkerd{r, annotations}
	var out LinkerdPolicy
	out.Retry = l.retry(takes)
	out.Request = l.duration(linkerdTimeout + "request")
	out.Response = l.duration(linkerdTimeout + "response")
	out.Idle = l.duration(linkerdTimeout + "idle")
	return out
}

type linkerd struct {
	r           *Report
	annotations map[string]string
}

func (l linkerd) wrong(annotation, value, why, fix string) {
	l.r.Warn("metadata.annotations["+annotation+"]", fmt.Sprintf("%#q %s", value, why), fix)
}

func (l linkerd) retry(takes LinkerdTakes) *Retry {
	// What is always repeated stands there as in a policy that nobody wrote; it adds nothing.
	out := &Retry{Attempts: 1, On: []string{"connect-failure", "refused-stream", "reset-before-request"}}
	said := false
	read := func(name string, use func(value string) (why, fix string)) {
		value, ok := l.annotations[linkerdRetry+name]
		if !ok {
			return
		}
		if why, fix := use(value); why != "" {
			l.wrong(linkerdRetry+name, value, why, fix)
			return
		}
		said = true
	}
	read("http", func(value string) (why, fix string) {
		codes, ok := LinkerdStatuses(value)
		switch {
		case !takes.HTTP:
			return "has no effect on a route of gRPC", "use " + linkerdRetry + "grpc"
		case !ok:
			return "is no list of statuses", `such as "5xx", "gateway-error", "504" or "500-504"`
		}
		out.Codes = codes
		return "", ""
	})
	read("grpc", func(value string) (why, fix string) {
		conditions, ok := LinkerdGRPCStatuses(value)
		switch {
		case !takes.GRPC:
			return "has no effect on an HTTPRoute", "use a GRPCRoute"
		case !ok:
			return "is no list of gRPC statuses", strings.Join(GRPCRetryConditions(), ", ")
		}
		out.On = append(out.On, conditions...)
		return "", ""
	})
	read("limit", func(value string) (why, fix string) {
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return "is no number of retries", "a whole number, 0 for none"
		}
		out.Attempts = int(n)
		return "", ""
	})
	read("timeout", func(value string) (why, fix string) {
		d, ok := LinkerdDuration(value)
		if !ok {
			return "is no time", linkerdTimeForm
		}
		out.PerTryTimeout = d
		out.On = append(out.On, RetryOnTryTimeout)
		return "", ""
	})
	switch {
	case !said:
		return nil
	case out.Attempts == 0:
		return &Retry{}
	}
	return out
}

func (l linkerd) duration(annotation string) time.Duration {
	value, said := l.annotations[annotation]
	if !said {
		return 0
	}
	d, ok := LinkerdDuration(value)
	if !ok {
		l.wrong(annotation, value, "is no time", linkerdTimeForm)
	}
	return d
}

const linkerdTimeForm = `a number with a unit, such as "5s" or "200ms"`

// gep2257 is the form of times: up to four numbers with units.
var gep2257 = regexp.MustCompile(`^(\d{1,5}(h|m|s|ms)){1,4}$`)

// LinkerdDuration reads Linkerd's form of a time, one number with one of its units (h, m, s, ms, d), and Gateway API's.
func LinkerdDuration(value string) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if days, ok := strings.CutSuffix(value, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil && n > 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || !gep2257.MatchString(value) {
		return 0, false
	}
	return d, true
}
