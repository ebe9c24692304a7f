package model

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func TestReadLinkerdPolicy(t *testing.T) {
	free := []string{"connect-failure", "refused-stream", "reset-before-request"}
	both := LinkerdTakes{HTTP: true, GRPC: true}
	tests := []struct {
		name     string
		takes    LinkerdTakes
		said     string // annotations without the domain, "retry/http=5xx"
		want     LinkerdPolicy
		warnings string
	}{
		{"nothing", both, "", LinkerdPolicy{}, ""},
		{"all", both, "retry/http=500-501 retry/grpc=internal retry/limit=3 retry/timeout=250ms timeout/request=2s timeout/response=1s timeout/idle=30s", LinkerdPolicy{
			Retry:        &Retry{Attempts: 3, PerTryTimeout: 250 * time.Millisecond, On: append(free[:3:3], "internal", RetryOnTryTimeout), Codes: []int{500, 501}},
			LinkerdTimes: LinkerdTimes{Request: 2 * time.Second, Response: time.Second, Idle: 30 * time.Second},
		}, ""},
		{"units", both, "timeout/request=1h30m timeout/response=2d timeout/idle=1500ms", LinkerdPolicy{
			LinkerdTimes: LinkerdTimes{Request: 90 * time.Minute, Response: 48 * time.Hour, Idle: 1500 * time.Millisecond},
		}, ""},
		{"one_retry", both, "retry/http=504", LinkerdPolicy{Retry: &Retry{Attempts: 1, On: free, Codes: []int{504}}}, ""},
		{"never", both, "retry/http=504 retry/limit=0", LinkerdPolicy{Retry: &Retry{}}, ""},
		{"http_on_a_route_of_grpc", LinkerdTakes{GRPC: true}, "retry/http=504", LinkerdPolicy{}, "retry.linkerd.io/http"},
		{"grpc_on_a_route_of_http", LinkerdTakes{HTTP: true}, "retry/grpc=internal", LinkerdPolicy{}, "retry.linkerd.io/grpc"},
		{
			"nonsense", both, "retry/http=x retry/grpc=x retry/limit=-1 retry/timeout=5 timeout/request=5 timeout/response=0s timeout/idle=0d",
			LinkerdPolicy{},
			"retry.linkerd.io/http retry.linkerd.io/grpc retry.linkerd.io/limit retry.linkerd.io/timeout timeout.linkerd.io/request timeout.linkerd.io/response timeout.linkerd.io/idle",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			annotations := map[string]string{}
			for part := range strings.FieldsSeq(tt.said) {
				name, value, _ := strings.Cut(part, "=")
				annotations[strings.Replace(name, "/", ".linkerd.io/", 1)] = value
			}
			var r Report
			got := ReadLinkerdPolicy(&r, annotations, tt.takes)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var fields []string
			for _, p := range r.Problems {
				fields = append(fields, strings.TrimSuffix(strings.TrimPrefix(p.Field, "metadata.annotations["), "]"))
			}
			if warnings := strings.Join(fields, " "); warnings != tt.warnings || r.Rejected() {
				t.Errorf("warnings of %q, want %q", warnings, tt.warnings)
			}
		})
	}
}

func FuzzReadLinkerdPolicy(f *testing.F) {
	f.Add("5xx,404", "internal", "3", "5s")
	f.Fuzz(func(t *testing.T, http, grpc, limit, timeout string) {
		p := ReadLinkerdPolicy(&Report{}, map[string]string{
			"retry.linkerd.io/http": http, "retry.linkerd.io/grpc": grpc, "retry.linkerd.io/limit": limit, "retry.linkerd.io/timeout": timeout,
			"timeout.linkerd.io/request": timeout, "timeout.linkerd.io/idle": timeout,
		}, LinkerdTakes{HTTP: true, GRPC: true})
		if p.Request < 0 || p.Idle != p.Request || p.Retry != nil && (p.Retry.Attempts < 0 || p.Retry.PerTryTimeout < 0 || len(p.Retry.Codes) > 500) {
			t.Errorf("%+v", p)
		}
	})
}
