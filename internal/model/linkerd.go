package model

import (
	"slices"
	"strconv"
	"strings"
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
