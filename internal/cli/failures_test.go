package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
)

func failures(now time.Time) *admin.Failures {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return &admin.Failures{Pod: "users-1", Namespace: "myapp", Total: 412, Failures: []admin.Failure{
		{
			Start: ago(2 * time.Second), Direction: "inbound", DurationMS: 1.25, Client: "10.1.0.2:40100", Dialled: "10.1.0.3:8080",
			Endpoint: "10.1.0.3:8080", Source: "orders.myapp", Protocol: "HTTP/1.1", Method: "GET", Authority: "users:8080", Path: "/a\x1b[2J\u009b1m", Status: 500,
		},
		{
			Start: ago(3 * time.Second), Direction: "outbound", DurationMS: 10000, Client: "10.1.0.3:50000", Dialled: "10.96.0.1:80",
			Endpoint: "10.1.0.9:80", Destination: "books.myapp", Protocol: "HTTP/2", Method: "POST", Authority: "books", Path: "/b.B/C", Status: 200, GRPCStatus: "14",
			Flags: "UC", Cause: "upstream closed the connection in the middle of the response",
		},
		{
			Start: ago(5 * time.Minute), Direction: "outbound", Client: "10.1.0.3:50000", Dialled: "10.96.0.1:80",
			Protocol: "HTTP/1.1", Method: "GET", Authority: "books", Path: "/", Status: 503, Flags: "UH", Cause: "no healthy upstream: no endpoints",
		},
		{Start: ago(time.Hour), Direction: "inbound", Client: "10.9.9.9:1", Dialled: "10.1.0.3:3306", Flags: "NR", Cause: "STRICT"},
		{Start: ago(time.Hour), Direction: "inbound", Client: "10.9.9.9:1", Protocol: "HTTP/2", Method: "GET", Authority: "users", Path: "/", Flags: "DC"},
	}}
}

func TestFailuresTable(t *testing.T) {
	now := time.Unix(100_000, 0)
	page := failures(now)
	var out strings.Builder
	if err := printFailures(&out, page, page.Failures, now); err != nil {
		t.Fatal(err)
	}
	want := `
AGE DIRECTION STATUS REQUEST PEER TOOK CAUSE
2s inbound 500 GET users:8080/a�[2J�1m orders.myapp 10.1.0.2:40100 1.3ms the app answered so
3s outbound grpc 14 UC POST books/b.B/C books.myapp 10.1.0.9:80 10s upstream closed the connection in the middle of the response
5m0s outbound 503 UH GET books/ - 0s no healthy upstream: no endpoints
1h0m0s inbound - NR 10.1.0.3:3306 10.9.9.9:1 0s STRICT
1h0m0s inbound cut DC GET users/ 10.9.9.9:1 0s -
`
	if diff := cmp.Diff(want, "\n"+regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoFailures(t *testing.T) {
	var out strings.Builder
	none := &admin.Failures{Pod: "users-1", Namespace: "myapp"}
	if err := printFailures(&out, none, nil, time.Now()); err != nil || out.String() != "no call from or to users-1.myapp has failed since its sidecar began\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	page := failures(time.Now())
	if err := printFailures(&out, page, nil, time.Now()); err != nil || out.String() != "none of the last 5 failed calls from and to users-1.myapp is of that kind\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestFailureFilter(t *testing.T) {
	now := time.Unix(100_000, 0)
	all := failures(now).Failures
	for _, tt := range []struct {
		name string
		f    failureFilter
		want []int
	}{
		{"all", failureFilter{}, []int{0, 1, 2, 3, 4}},
		{"class", failureFilter{status: "5XX"}, []int{0, 2}},
		{"status", failureFilter{status: "503"}, []int{2}},
		{"direction", failureFilter{direction: "outbound"}, []int{1, 2}},
		{"since", failureFilter{since: time.Minute}, []int{0, 1}},
		{"last", failureFilter{last: 1}, []int{0}},
		{"both", failureFilter{status: "5xx", since: time.Minute, direction: "outbound"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []admin.Failure{}
			for _, i := range tt.want {
				want = append(want, all[i])
			}
			if diff := cmp.Diff(want, tt.f.keep(all, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, wrong := range []failureFilter{{status: "x"}, {status: "6xx"}, {status: "99"}, {status: "1000"}, {direction: "up"}, {last: -1}, {since: -1}} {
		if wrong.check() == nil {
			t.Errorf("%+v is accepted", wrong)
		}
	}
}
