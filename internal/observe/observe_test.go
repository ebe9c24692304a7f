package observe

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

func TestTapShowsWhatIsAskedOfThoseWhoAreMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := podAt("a", "10.0.0.1"), podAt("b", "10.0.0.2")
		w.town.add(a)
		w.town.add(b)
		w.town.add(Pod{Key: model.Key{Namespace: "myapp", Name: "bare"}})
		atA, endA := w.connect(a, nil)
		atB, endB := w.connect(b, nil)
		atA.Record(call("/before", 200))

		all, endAll := w.tap(Query{})
		failed, endFailed := w.tap(Query{Resource: Target{Name: "a"}, Filter: Filter{Status: "5xx"}})
		atA.Record(call("/1", 200))
		atA.Record(call("/2", 503))
		atB.Record(call("/3", 500))
		synctest.Wait()

		paths, missed, began := all.take()
		slices.Sort(paths)
		if want := []string{"a.myapp /1", "a.myapp /2", "b.myapp /3"}; !slices.Equal(paths, want) || missed != (Missed{}) {
			t.Errorf("the tap of all shows %q and misses %v, want %q", paths, missed, want)
		}
		if want := (&Began{Pods: 3, Asked: 2, Unmeshed: []string{"bare.myapp"}, Asking: []string{"a.myapp", "b.myapp"}}); !cmp.Equal(began, want) {
			t.Errorf("the tap of all began with (-want +got)\n%s", cmp.Diff(want, began))
		}
		if paths, _, _ := failed.take(); !slices.Equal(paths, []string{"a.myapp /2"}) {
			t.Errorf("the tap of a's failures shows %q", paths)
		}

		endAll()
		synctest.Wait()
		if atB.orders.Load() != nil {
			t.Error("the tap is over, and a sidecar still keeps what it asked for")
		}
		endFailed()
		synctest.Wait()
		if atA.orders.Load() != nil {
			t.Error("no tap is left, and a call costs more than a load")
		}
		endA()
		endB()
		w.joined.Wait()
	})
}

func TestTapFollowsSidecars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := podAt("a", "10.0.0.1"), podAt("b", "10.0.0.2")
		w.town.add(a)
		tapA, endA := w.connect(a, nil)
		shown, end := w.tap(Query{})

		endA() // the replica is lost, and another one found: here the same
		synctest.Wait()
		if tapA.orders.Load() != nil {
			t.Error("the link is over, and its sidecar still keeps what was asked over it")
		}
		if _, _, began := shown.take(); began == nil || began.Asked != 0 {
			t.Errorf("the command heard %v of a sidecar that is gone", began)
		}
		tapA, endA = w.connect(a, nil)
		w.town.add(b) // a rollout: the pod is known before its sidecar connects
		tapB, endB := w.connect(b, nil)
		time.Sleep(lookEvery)
		synctest.Wait()
		tapA.Record(call("/a", 200))
		tapB.Record(call("/b", 200))
		synctest.Wait()
		paths, _, began := shown.take()
		slices.Sort(paths)
		if want := []string{"a.myapp /a", "b.myapp /b"}; !slices.Equal(paths, want) || began == nil || began.Asked != 2 {
			t.Errorf("shown %q, asked %v, want %q of 2", paths, began, want)
		}

		// A second link of a pod takes the place of the first.
		again, endAgain := w.connect(a, nil)
		synctest.Wait()
		if tapA.orders.Load() != nil || again.orders.Load() == nil {
			t.Error("the newest link of a pod is not the one that is asked")
		}
		end()
		endA()
		endAgain()
		endB()
		w.joined.Wait()
	})
}

func TestTapCountsWhatItDoesNotShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := podAt("a", "10.0.0.1")
		w.town.add(a)
		tap, endA := w.connect(a, nil)
		shown, end := w.tap(Query{MaxRPS: 10})
		for range 25 {
			tap.Record(call("/", 200))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		for range 5 {
			tap.Record(call("/", 200))
		}
		synctest.Wait()
		if paths, missed, _ := shown.take(); len(paths) != 15 || missed != (Missed{Beyond: 15}) {
			t.Errorf("30 calls at 10 a second: %d shown, missed %+v; want 15 shown and 15 counted", len(paths), missed)
		}

		// A sidecar whose link does not take what it has keeps a bounded part of it, and counts the rest.
		slow := &Tap{}
		if err := slow.begin(&order{id: 1, perSecond: 100_000}, make(chan struct{}, 1)); err != nil {
			t.Fatal(err)
		}
		for range 10_000 {
			slow.Record(call("/slow", 200))
		}
		kept, _ := slow.list()[0].drain()
		if n := len(kept.events); n > tapBuffer+4096 || kept.missed.Overrun == 0 || kept.missed.Beyond != 0 {
			t.Errorf("kept %d bytes and missed %+v of 10,000 calls", n, kept.missed)
		}
		end()
		endA()
		w.joined.Wait()
	})
}

func TestSummariesComeEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var n atomic.Int32
		_, end := w.connect(podAt("a", "10.0.0.1"), func() []byte { return []byte{'0' + byte(n.Add(1))} })
		time.Sleep(SummaryEvery - 1)
		synctest.Wait()
		if n.Load() != 0 {
			t.Error("a summary was made before its time")
		}
		time.Sleep(SummaryEvery + 1)
		synctest.Wait()
		end()
		w.joined.Wait()
		close(w.sums)
		var got []string
		for s := range w.sums {
			got = append(got, s)
		}
		if want := []string{"a 1", "a 2"}; !slices.Equal(got, want) {
			t.Errorf("summaries %q, want %q", got, want)
		}
	})
}

// TestLastSummary: a sidecar that ends tells of its last calls at once, and waits for nobody longer than it is told to.
func TestLastSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		agent, err := NewAgent(AgentOptions{Tap: &Tap{}, Summary: func() []byte { return []byte("all") }, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		// last gives how long the sidecar waits.
		last := func() time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			agent.Last(ctx)
			return time.Since(begin)
		}
		if took := last(); took != 0 {
			t.Errorf("without a link: %s", took)
		}
		here, there := newPipe()
		w.joined.Go(func() { w.hub.Serve(t.Context(), podAt("a", "10.0.0.1").Key, there) })
		w.joined.Go(func() { agent.Serve(t.Context(), here) })
		synctest.Wait()
		if took := last(); took != 0 {
			t.Errorf("with a link: %s", took)
		}
		synctest.Wait()
		here.Close()
		w.joined.Wait()
		if got := len(w.sums); got != 1 {
			t.Fatalf("%d summaries", got)
		}
		if got := <-w.sums; got != "a all" {
			t.Errorf("the summary is %q", got)
		}

		stalled, _ := newPipe()
		w.joined.Go(func() { agent.Serve(t.Context(), stalled) })
		synctest.Wait()
		for _, when := range []string{"while it sends", "while it has not sent"} {
			if took := last(); took != time.Second {
				t.Errorf("with a control plane that takes nothing, %s: %s", when, took)
			}
		}
		stalled.Close()
		w.joined.Wait()
	})
}

func TestTooManyTapsAreRefused(t *testing.T) {
	w := newWorld(t)
	for range maxListeners {
		if err := w.hub.open(&listener{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.hub.Tap(t.Context(), &Query{}, nil); !errors.As(err, new(busyError)) {
		t.Errorf("tap number %d: %v", maxListeners+1, err)
	}
}

// header is the fields of a head.
type header []HeaderField

func (h header) Len() int { return len(h) }

func (h header) At(i int) (name, value []byte) { return []byte(h[i].Name), []byte(h[i].Value) }

func (header) Get(string) []byte { return nil }

func TestEventsSurviveTheWire(t *testing.T) {
	r := call("/x?y=1", 503)
	r.Reporter, r.Received, r.Sent, r.GRPCStatus, r.Flags, r.Cause, r.Route, r.NoTLS = telemetry.Destination, 3, 4, "14", "UF", "no way", "default", "Disabled"
	r.Header = header{
		{"Authorization", "Bearer x"}, {"x-fairlead-target", "10.0.0.2:8080/h1"}, {"X-Api_Key", "x"}, {"cookie", "x"}, {"accept", "*/*"}, {"empty", ""},
	}
	r.Answer = header{{"set-cookie", "x"}, {"server", "y"}}
	tests := []struct {
		name              string
		order             order
		request, response []HeaderField
	}{
		{name: "no_headers"},
		{
			"headers",
			order{headers: true},
			[]HeaderField{{"Authorization", Redacted}, {"X-Api_Key", Redacted}, {"cookie", Redacted}, {"accept", "*/*"}, {"empty", ""}},
			[]HeaderField{{"set-cookie", Redacted}, {"server", "y"}},
		},
		{
			"secrets",
			order{headers: true, secrets: true},
			[]HeaderField{{"Authorization", "Bearer x"}, {"X-Api_Key", "x"}, {"cookie", "x"}, {"accept", "*/*"}, {"empty", ""}},
			[]HeaderField{{"set-cookie", "x"}, {"server", "y"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := &tapping{order: tt.order, kept: &kept{count: 7}}
			got, err := parseEvent(k.appendEvent(appendNumber(nil, 1, k.count), r))
			if err != nil {
				t.Fatal(err)
			}
			want := Event{
				ID: 7, Direction: Inbound, Start: time.Unix(0, r.Start.UnixNano()), Duration: r.Duration, HeadAfter: r.HeadAfter,
				Source: Peer{Addr: r.Client}, Destination: Peer{Addr: r.Endpoint},
				NoTLS: "Disabled", Method: "GET", Scheme: "http", Authority: "users:8080", Path: "/x?y=1", Protocol: "HTTP/1.1",
				Cluster: r.Cluster, Route: "default", Status: 503, GRPCStatus: "14", Flags: "UF", Cause: "no way", Received: 3, Sent: 4,
				RequestHeaders: tt.request, ResponseHeaders: tt.response,
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	get := call("/api/user/1", 200)
	post := call("/api", 404)
	post.Method = []byte("POST")
	cutOff := call("/cut", 0)
	inbound := call("/in", 200)
	inbound.Reporter, inbound.Cluster, inbound.Endpoint = telemetry.Destination, "inbound|8080||", netip.MustParseAddrPort("10.0.0.9:8080")
	opaque := &telemetry.Record{Reporter: telemetry.Source}
	names := map[*telemetry.Record]string{get: "get", post: "post", cutOff: "cut", inbound: "in", opaque: "opaque"}
	tests := []struct {
		name   string
		filter Filter
		want   []string
	}{
		{"everything_but_connections", Filter{}, []string{"get", "post", "cut", "in"}},
		{"method_in_any_case", Filter{Method: "post"}, []string{"post"}},
		{"path_is_a_prefix", Filter{Path: "/api/"}, []string{"get"}},
		{"authority", Filter{Authority: "USERS:8080"}, []string{"get", "post", "cut", "in"}},
		{"authority_is_whole", Filter{Authority: "users"}, nil},
		{"scheme", Filter{Scheme: "https"}, nil},
		{"status", Filter{Status: "404"}, []string{"post"}},
		{"statuses", Filter{Status: "2xx,0"}, []string{"get", "cut", "in"}},
		{"not", Filter{Status: "2xx", Not: true}, []string{"post", "cut"}},
		{"not_is_of_all_together", Filter{Status: "2xx", Path: "/api", Not: true}, []string{"post", "cut", "in"}},
		{"direction", Filter{Direction: Inbound}, []string{"in"}},
		{"to_a_pod", Filter{To: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}, []string{"get", "post", "cut"}},
		{"to_a_host", Filter{ToHosts: []string{"users.myapp.svc.cluster.local"}}, []string{"get", "post", "cut"}},
		{"to_another_host", Filter{ToHosts: []string{"sers.myapp.svc.cluster.local"}}, nil},
		{"nowhere", Filter{Nowhere: true}, nil},
		{"not_does_not_undo_where_to", Filter{To: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, Method: "POST", Not: true}, []string{"in"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var onWire Filter
			if err := onWire.parse(tt.filter.append(nil)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range []*telemetry.Record{get, post, cutOff, inbound, opaque} {
				if onWire.match(r) {
					got = append(got, names[r])
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%+v is met by %q, want %q", tt.filter, got, tt.want)
			}
		})
	}
}

func TestBadQueriesAreNamed(t *testing.T) {
	tests := []struct {
		name  string
		query Query
		want  string
	}{
		{"status", Query{Filter: Filter{Status: "5x"}}, `--status "5x" is no status: write one like 503 or 5xx, or 0 for requests without an answer`},
		{"path", Query{Filter: Filter{Path: "api"}}, `--path "api": paths begin with a slash: write /api`},
		{"scheme", Query{Filter: Filter{Scheme: "grpc"}}, `--scheme "grpc": write http or https`},
		{"method", Query{Filter: Filter{Method: "GET /"}}, `--method "GET /" is no method: write one like GET`},
		{"not", Query{Filter: Filter{Not: true}}, "--not needs something to turn around: --method, --path, --scheme, --authority or --status"},
		{"service", Query{Resource: Target{Kind: "service"}}, "a Service has no sidecar to tap: tap its workload, such as deploy/NAME, or its callers with --to svc/NAME"},
		{"secrets", Query{Secrets: true}, "--show-secrets needs -o json: headers are shown nowhere else"},
		{"max_rps", Query{MaxRPS: 1 << 30}, "--max-rps 1073741824: 10000 at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.query.Check(); err == nil || err.Error() != tt.want {
				t.Errorf("Check() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"deploy/users": {Kind: "deployment", Namespace: "myapp", Name: "users"},
		"pods":         {Kind: "pod", Namespace: "myapp"},
		"ns/other":     {Kind: "namespace", Namespace: "other"},
		"ns":           {Kind: "namespace", Namespace: "myapp"},
		"SVC/x":        {Kind: "service", Namespace: "myapp", Name: "x"},
	} {
		if got, err := ParseTarget([]string{text}, "myapp"); err != nil || !cmp.Equal(got, want) {
			t.Errorf("ParseTarget(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	if got, err := ParseTarget([]string{"deploy", "users"}, "myapp"); err != nil || got.Name != "users" {
		t.Errorf("two words: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"users":     `"users": a resource is written KIND/NAME, such as deploy/users or pod/users`,
		"cronjob/x": `resource "cronjob/x": kind "cronjob" is none of pod, deploy, sts, ds, rs, job, ns, svc`,
		"deploy/x/": `"deploy/x/": one resource is written KIND/NAME, or KIND for all of them`,
	} {
		if _, err := ParseTarget([]string{text}, "myapp"); err == nil || err.Error() != want {
			t.Errorf("ParseTarget(%q) = %v, want %s", text, err, want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	k := &tapping{order: order{headers: true}, kept: &kept{}}
	r := call("/", 200)
	r.Header = header{{"a", "b"}}
	f.Add(k.appendEvent(appendNumber(nil, 1, k.count), r))
	o := order{id: 1, filter: Filter{Status: "5xx", To: []netip.Addr{netip.IPv6Loopback()}}, perSecond: 3, headers: true}
	f.Add((&ask{tap: &o}).append(nil))
	f.Add((&said{summary: []byte("x"), tapped: []tapped{{id: 3, missed: Missed{1, 2}}}}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if wish, err := parseAsk(b); err == nil {
			again, err := parseAsk(wish.append(nil))
			if err != nil || !cmp.Equal(wish.tap, again.tap, cmp.AllowUnexported(order{}, Filter{}, class{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
				t.Errorf("an order came back as another one: %v", err)
			}
		}
		_, _ = parseSaid(b)
		_, _ = parseEvent(b)
	})
}
