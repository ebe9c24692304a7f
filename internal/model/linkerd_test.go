package model

import (
	"fmt"
	"testing"
)

func TestLinkerdStatuses(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"504", "[504] true"},
		{"500-502", "[500 501 502] true"},
		{"gateway-error, 409", "[409 502 503 504] true"},
		{"503,500-504", "[500 501 502 503 504] true"},
		{"5XX", fmt.Sprint(upTo(500, 599), " true")},
		{"", "[] false"},
		{"4xx", "[] false"},
		{"504-500", "[] false"},
		{"99", "[] false"},
		{"500-600", "[] false"},
		{"500,", "[] false"},
		{"500-", "[] false"},
		{"-1", "[] false"},
	} {
		codes, ok := LinkerdStatuses(tt.list)
		if got := fmt.Sprint(codes, ok); got != tt.want {
			t.Errorf("LinkerdStatuses(%q) = %s, want %s", tt.list, got, tt.want)
		}
	}
}

func upTo(first, last int) (out []int) {
	for n := first; n <= last; n++ {
		out = append(out, n)
	}
	return out
}

func TestLinkerdGRPCStatuses(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"internal", "[internal] true"},
		{"Cancelled, unavailable", "[cancelled unavailable] true"},
		{"", "[] false"},
		{"14", "[] false"},
		{"aborted", "[] false"},
		{"internal,", "[] false"},
	} {
		conditions, ok := LinkerdGRPCStatuses(tt.list)
		if got := fmt.Sprint(conditions, ok); got != tt.want {
			t.Errorf("LinkerdGRPCStatuses(%q) = %s, want %s", tt.list, got, tt.want)
		}
	}
}
