//go:build envoy

package differential_test

import (
	"regexp"
	"slices"
	"strings"
)

// What differs on purpose, by its heading in docs/differences.md. What can be left out of rules and requests without losing what
// surrounds it is not made up at all: headers that come in several lines, and query parameters that are escaped.

// standardPort is a port that says no more than the scheme ("The port of a redirect").
var standardPort = regexp.MustCompile(`^(http://[^/:]+):80(/|$)|^(https://[^/:]+):443(/|$)`)

// sameBut takes out of two outcomes what differs on purpose.
func sameBut(got *[2]outcome) {
	ownAnswers(got)
	for i := range got {
		shared := slices.ContainsFunc(got[i], func(line string) bool { return strings.HasPrefix(line, "response Access-Control-Allow-Origin: ") })
		got[i] = slices.DeleteFunc(got[i], func(line string) bool {
			// "The host before a rewrite", and "Preflights that are ignored".
			return strings.HasPrefix(line, "request X-Envoy-Original-Host: ") || !shared && strings.HasPrefix(line, "response Access-Control-")
		})
	}
}

// ownAnswers leaves of the errors that the proxies find out the status alone ("A proxy's own errors"): each describes
// them in its own words.
func ownAnswers(got *[2]outcome) {
	body := func(o outcome) (string, bool) {
		i := slices.IndexFunc(o, func(line string) bool { return strings.HasPrefix(line, "body ") })
		if i < 0 {
			return "", false
		}
		return o[i], true
	}
	envoys, a := body(got[0])
	ours, b := body(got[1])
	of := func(o outcome, field string) bool {
		return slices.ContainsFunc(o, func(line string) bool { return strings.HasPrefix(line, field) })
	}
	grpc := of(got[0], "response Grpc-Status: ") && of(got[1], "response Grpc-Status: ") // which has no body to tell by
	if !a || !b || envoys == ours && !grpc {
		return
	}
	for i := range got {
		got[i] = slices.DeleteFunc(got[i], func(line string) bool {
			return !strings.HasPrefix(line, "status ") && !strings.HasPrefix(line, "response Grpc-Status: ")
		})
	}
}

// copied takes out of a copy what differs on purpose ("What a copy says of itself").
func copied(o outcome) outcome {
	return slices.DeleteFunc(o, func(line string) bool {
		return strings.HasPrefix(line, "request X-Envoy-Original-Host: ") || strings.HasPrefix(line, "request X-Envoy-Internal: ") || strings.HasPrefix(line, "request X-Forwarded-For: ")
	})
}
