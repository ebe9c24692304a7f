package call

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

func fieldsOf(lines ...string) *httpx.Fields {
	f := new(httpx.Fields)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		f.AddString(name, value)
	}
	return f
}

func TestWished(t *testing.T) {
	route := model.Retry{Attempts: 2, On: []string{"connect-failure", "gateway-error", "unavailable"}, Codes: []int{409}}
	with := func(change func(*model.Retry)) model.Retry {
		p := route
		p.On, p.Codes = slices.Clone(p.On), slices.Clone(p.Codes)
		change(&p)
		return p
	}
	tests := []struct {
		name   string
		route  model.Retry
		fields []string
		want   model.Retry
		names  []string
	}{
		{"nothing", route, []string{"host: a", "x-envoy-attempt-count: 3"}, route, nil},
		{"envoy_adds_conditions", route, []string{"X-Envoy-Retry-On: 5xx, reset,,nonsense", "x-envoy-retry-grpc-on: Cancelled"}, with(func(p *model.Retry) {
			p.On = append(p.On, "5xx", "reset", "nonsense", "cancelled")
		}), nil},
		{"envoy_attempts", route, []string{"x-envoy-max-retries: 5"}, with(func(p *model.Retry) { p.Attempts = 5 }), nil},
		{"envoy_no_attempts", route, []string{"x-envoy-max-retries: 0"}, with(func(p *model.Retry) { p.Attempts = 0 }), nil},
		{"envoy_too_many_attempts", route, []string{"x-envoy-max-retries: 4294967295"}, with(func(p *model.Retry) { p.Attempts = maxWishedRetries }), nil},
		{"envoy_attempts_that_are_none", route, []string{"x-envoy-max-retries: -1"}, route, nil},
		{"envoy_statuses", route, []string{"x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 404, 500,x"}, with(func(p *model.Retry) {
			p.On, p.Codes = append(p.On, "retriable-status-codes"), append(p.Codes, 404, 500)
		}), nil},
		{"envoy_statuses_without_the_condition", route, []string{"x-envoy-retriable-status-codes: 404"}, route, nil},
		{"envoy_fields", route, []string{"x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: X-Again, x-later"}, with(func(p *model.Retry) {
			p.On = append(p.On, "retriable-headers")
		}), []string{"X-Again", "x-later"}},
		{"envoy_fields_without_the_condition", route, []string{"x-envoy-retriable-header-names: X-Again"}, route, nil},
		{"linkerd", route, []string{"l5d-retry-http: 404,500-502", "l5d-retry-grpc: internal", "l5d-retry-limit: 1", "l5d-retry-timeout: 250ms"}, model.Retry{
			Attempts: 1, PerTryTimeout: 250 * time.Millisecond, On: []string{"connect-failure", "internal", model.RetryOnTryTimeout}, Codes: []int{404, 500, 501, 502},
		}, nil},
		{"linkerd_that_cannot_be_read", route, []string{"l5d-retry-http: 4xx", "l5d-retry-grpc: 14", "l5d-retry-limit: many", "l5d-retry-timeout: 5"}, route, nil},
		{"never", model.Retry{}, []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3", "l5d-retry-limit: 3"}, model.Retry{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := with(func(*model.Retry) {})
			got, names := wished(&tt.route, fieldsOf(tt.fields...))
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.names, names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, route); diff != "" {
				t.Errorf("the route's own has changed:\n%s", diff)
			}
		})
	}
}

func TestWishedTimes(t *testing.T) {
	route := timeouts{request: 9 * time.Second, try: 3 * time.Second, response: 4 * time.Second}
	with := func(change func(*timeouts)) timeouts { o := route; change(&o); return o }
	tests := []struct {
		name   string
		fields []string
		want   timeouts
	}{
		{"nothing", []string{"host: a", "x-envoy-expected-rq-timeout-ms: 1"}, route},
		{"envoy", []string{"X-Envoy-Upstream-Rq-Timeout-Ms: 700", "x-envoy-upstream-rq-per-try-timeout-ms: 50"}, with(func(o *timeouts) {
			o.request, o.try = 700*time.Millisecond, 50*time.Millisecond
		})},
		{"envoy_no_limit", []string{"x-envoy-upstream-rq-timeout-ms: 0"}, with(func(o *timeouts) { o.request = 0 })},
		{"envoy_that_cannot_be_read", []string{"x-envoy-upstream-rq-timeout-ms: 1s", "x-envoy-upstream-rq-per-try-timeout-ms: -1"}, route},
		{"linkerd", []string{"L5d-Timeout: 2s", "l5d-response-timeout: 300ms"}, with(func(o *timeouts) {
			o.request, o.response = 2*time.Second, 300*time.Millisecond
		})},
		{"linkerd_newer", []string{"l5d-request-timeout: 1s", "l5d-timeout: 2s"}, with(func(o *timeouts) { o.request = time.Second })},
		{"linkerd_that_cannot_be_read", []string{"l5d-timeout: 2", "l5d-response-timeout: -1s", "l5d-request-timeout: 0s"}, route},
		{"both", []string{"x-envoy-upstream-rq-timeout-ms: 5", "l5d-timeout: 2s"}, with(func(o *timeouts) { o.request = 5 * time.Millisecond })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := route
			wishedTimes(&got, fieldsOf(tt.fields...))
			if got != tt.want {
				t.Errorf("= %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWishesAreCleaned(t *testing.T) {
	f := fieldsOf("Accept: */*", "X-Envoy-Attempt-Count: 1", "x-envoy-expected-rq-timeout-ms: 5", "x-envoy-upstream-service-time: 3", "L5d-Dst-Override: a")
	kept := f.Len()
	for _, name := range wishFields() {
		f.AddString(strings.ToUpper(name), "1")
		f.AddString(name, "2")
	}
	cleanWishes(f)
	if f.Len() != kept {
		t.Errorf("%d fields are left, want %d", f.Len(), kept)
	}
}

func TestRequestsWithoutWishesCostNothing(t *testing.T) {
	f := fieldsOf("host: a", "x-envoy-attempt-count: 1", "user-agent: b", "accept: c")
	route := &model.Retry{Attempts: 2}
	times := timeouts{request: time.Second}
	if n := testing.AllocsPerRun(100, func() {
		wished(route, f)
		wishedTimes(&times, f)
		cleanWishes(f)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzWished: whatever an app writes, the policy stays within bounds, and the route's is untouched.
func FuzzWished(f *testing.F) {
	f.Add("5xx,reset", "3", "404,500", "x-a", "5xx,404-409", "internal", "250ms")
	f.Fuzz(func(t *testing.T, on, limit, codes, names, http, grpc, timeout string) {
		route := &model.Retry{Attempts: 1, On: []string{"reset"}}
		head := new(httpx.Fields)
		for i, value := range []string{on, grpc, limit, codes, names, "", http, grpc, limit, timeout} {
			head.AddString(wishFields()[i], value)
		}
		p, retriable := wished(route, head)
		if p.Attempts < 0 || p.Attempts > maxWishedRetries || p.PerTryTimeout < 0 || len(retriable) > maxWishedNames || len(p.On) > 100 || len(p.Codes) > 600 {
			t.Errorf("%+v %q", p, retriable)
		}
		if len(route.On) != 1 || route.Attempts != 1 {
			t.Errorf("the route's own is %+v", route)
		}
	})
}
