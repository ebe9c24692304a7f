package httpx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want Outcome
	}{
		{
			"the body names object, endpoints and cause on one line",
			fmt.Errorf("attempt: %w", &Error{
				Reason: NoHealthyUpstream, Object: "outbound|8080||users", Detail: "10.0.0.1:8080 not ready\nrefused", Err: errors.New("why"),
			}),
			Outcome{503, "UH", "no_healthy_upstream", "no healthy upstream: outbound|8080||users: 10.0.0.1:8080 not ready refused: why", "destination_unavailable", ""},
		},
		{
			"a status of its own", &Error{Reason: NoCluster, Status: 500, Object: "x"},
			Outcome{500, "NC", "cluster_not_found", "cluster not found: x", "proxy_configuration_error", ""},
		},
		{
			"retries used up add a flag", &Error{Reason: UpstreamReset, Flag: "URX"},
			Outcome{503, "UC,URX", beforeStart + "{connection_termination}", beforeHeaders + "connection termination", "connection_terminated", ""},
		},
		{
			"a canceled context is the client", context.Canceled,
			Outcome{0, "DC", "downstream_remote_disconnect", "downstream closed the connection", "http_request_error", ""},
		},
		{
			"a deadline is a timeout", context.DeadlineExceeded,
			Outcome{504, "UT", "response_timeout", "upstream request timeout", "http_response_timeout", ""},
		},
		{
			"anything else is the proxy", errors.New("bug"),
			Outcome{500, "LR", "proxy_internal_error", "proxy error: bug", "proxy_internal_error", ""},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, Describe(tt.err)); diff != "" {
				t.Errorf("Describe (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribeEveryKind(t *testing.T) {
	t.Parallel()
	want := map[Reason]string{
		NoRoute: "404 NR", NoCluster: "503 NC", NoHealthyUpstream: "503 UH", UpstreamConnectFailure: "503 UF",
		UpstreamReset: "503 UC", UpstreamStreamReset: "503 UR", UpstreamCut: "0 UC", UpstreamTimeout: "504 UT",
		UpstreamTryTimeout: "504 UT", UpstreamProtocolError: "502 UPE", UpstreamDNSFailure: "503 DF", Overflow: "503 UO",
		MaxDuration: "408 DT", DownstreamGone: "0 DC", DownstreamProtocolError: "400 DPE", HeaderTooLarge: "431 DPE",
		ResponseTooLarge: "502 UPE", StreamIdle: "408 SI", Overloaded: "503 OM", FaultAbort: "503 FI", Unsendable: "500 LR", Internal: "500 LR",
	}
	for k := NoRoute; k <= Internal; k++ {
		o := Describe(&Error{Reason: k})
		if got := fmt.Sprintf("%d %s", o.Status, o.Flag); got != want[k] {
			t.Errorf("Describe(%d) = %s, want %s", k, got, want[k])
		}
		if o.Details == "" || o.Body == "" || o.ProxyError == "" || strings.ContainsAny(o.Body, "\n\r") {
			t.Errorf("Describe(%d) = %+v, want every word on one line", k, o)
		}
	}
}

func TestAppendProxyStatus(t *testing.T) {
	t.Parallel()
	o := Outcome{Body: "say \"no\"\\\n\u00e9", ProxyError: "connection_refused"}
	want := `fairlead; error=connection_refused; details="say \"no\"\\???"`
	if got := string(o.AppendProxyStatus(nil, "fairlead")); got != want {
		t.Errorf("AppendProxyStatus = %s, want %s", got, want)
	}
}
