package cni

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// podText is a pod of the API server's, in which %s is the state of its validation.
func podText(name, validation, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"shop","uid":"u-%s","resourceVersion":"7","annotations":{"fairlead.dev/status":"{}"},
"ownerReferences":[{"kind":"ReplicaSet","name":"users","controller":true}]},
"status":{"phase":"Pending","startTime":"2026-11-22T10:00:00Z","initContainerStatuses":[{"name":"fairlead-validation",%s}]%s}}`, name, name, validation, more)
}

const (
	failed  = `"state":{"terminated":{"exitCode":126}}`
	waiting = `"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":126}}`
)

func TestJudge(t *testing.T) {
	since := time.Date(2026, 11, 22, 10, 0, 5, 0, time.UTC) // 5 s after the pods' start
	tests := []struct {
		name  string
		pod   string
		since time.Time
		want  finding
	}{
		{"failed", podText("a", failed, ""), since, slipped},
		{"waits_for_another_try", podText("a", waiting, ""), since, slipped},
		{"tries_again", podText("a", `"state":{"running":{}},"lastState":{"terminated":{"exitCode":126}}`, ""), since, sound},
		{"was_repaired", podText("a", `"state":{"terminated":{"exitCode":0}},"lastState":{"terminated":{"exitCode":126}}`, ""), since, sound},
		{"failed_otherwise", podText("a", `"state":{"terminated":{"exitCode":1}}`, ""), since, sound},
		{"has_not_run", podText("a", `"state":{"waiting":{}}`, ""), since, sound},
		{"runtime_had_not_noticed_yet", podText("a", failed, ""), since.Add(-10 * time.Second), slipped},
		{"plugin_was_there", podText("a", failed, ""), since.Add(-time.Minute), inexplicable},
		{"job_over", podText("a", failed, `,"phase":"Failed"`), since, sound},
		{"being_deleted", strings.Replace(podText("a", failed, ""), `"uid"`, `"deletionTimestamp":"2026-11-22T10:00:00Z","uid"`, 1), since, sound},
		{"not_injected", strings.Replace(podText("a", failed, ""), "fairlead.dev/status", "x", 1), since, sound},
		{"container_of_another_name", strings.Replace(podText("a", failed, ""), "fairlead-validation", "check", 1), since, sound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pod
			must(t, json.Unmarshal([]byte(tt.pod), &p))
			if got := judge(&p, tt.since); got != tt.want {
				t.Errorf("judge() = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestDecideRepair(t *testing.T) {
	since := time.Date(2026, 11, 22, 10, 0, 5, 0, time.UTC)
	tests := []struct {
		name  string
		how   Repair
		pod   string
		since time.Time
		want  string // method and path, or the reason
		body  string
	}{
		{
			"delete", RepairDelete, podText("a", failed, ""), since, "POST /api/v1/namespaces/shop/pods/a/eviction",
			`{"apiVersion":"policy/v1","deleteOptions":{"preconditions":{"uid":"u-a"}},"kind":"Eviction","metadata":{"name":"a","namespace":"shop"}}`,
		},
		{
			"label", RepairLabel, podText("a", failed, ""), since, "PATCH /api/v1/namespaces/shop/pods/a",
			`{"metadata":{"labels":{"fairlead.dev/unredirected":"true"},"uid":"u-a"}}`,
		},
		{"labelled", RepairLabel, strings.Replace(podText("a", failed, ""), `"uid"`, `"labels":{"fairlead.dev/unredirected":"true"},"uid"`, 1), since, "is labelled already", ""},
		{"without_controller", RepairDelete, strings.Replace(podText("a", failed, ""), `"controller":true`, `"controller":false`, 1), since, "no controller", ""},
		{"plugin_was_there", RepairDelete, podText("a", failed, ""), since.Add(-time.Minute), "after the plugin was put in place", ""},
		{"off", RepairNone, podText("a", failed, ""), since, "repair is off", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pod
			must(t, json.Unmarshal([]byte(tt.pod), &p))
			r := repairer{how: tt.how}
			got, req := r.decide(&p, tt.since)
			body := ""
			if req != nil {
				got, body = req.method+" "+req.path, string(req.body)
			}
			if !strings.Contains(got, tt.want) || body != tt.body {
				t.Errorf("decide() = %s %s, want %s %s", got, body, tt.want, tt.body)
			}
		})
	}
}

func TestParseRepair(t *testing.T) {
	for in, want := range map[string]Repair{"none": RepairNone, "delete": RepairDelete, "label": RepairLabel} {
		if got, err := ParseRepair(in); err != nil || got != want {
			t.Errorf("ParseRepair(%s) = %d, %v, want %d", in, got, err, want)
		}
	}
	if _, err := ParseRepair("restart"); err == nil {
		t.Error("ParseRepair(restart) = nil error")
	}
}

// cluster is an API server with pods on one node, which the repairer lists and watches.
type cluster struct {
	t *testing.T
	// lists and watches are what the first, second, … list and watch bring. The last watch stays open.
	lists, watches  []string
	listed, watched atomic.Int32
	open            chan struct{} // closed when the last watch has brought everything
	evicted         chan string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost:
		b, _ := io.ReadAll(r.Body)
		c.evicted <- r.URL.Path + " " + string(b)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{}`)
	case r.URL.Path != "/api/v1/pods" || q.Get("fieldSelector") != "spec.nodeName=n1":
		c.t.Errorf("unexpected request %s %s", r.Method, r.URL)
	case q.Get("watch") == "":
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"5"},"items":[%s]}`, c.lists[c.listed.Add(1)-1])
	default:
		n := int(c.watched.Add(1))
		fmt.Fprint(w, c.watches[n-1])
		if n == len(c.watches) {
			w.(http.Flusher).Flush()
			close(c.open)
			<-r.Context().Done()
		}
	}
}

func TestRepairerEvicts(t *testing.T) {
	event := func(kind, object string) string { return `{"type":"` + kind + `","object":` + object + `}` + "\n" }
	var (
		listed, gone, relisted = podText("listed", failed, ""), podText("gone", failed, ""), podText("relisted", failed, "")
		fine                   = podText("fine", `"state":{"running":{}}`, "")
	)
	c := &cluster{
		t:     t,
		lists: []string{listed + "," + gone + "," + fine, listed + "," + relisted},
		watches: []string{
			event("DELETED", gone) + event("BOOKMARK", `{"metadata":{"resourceVersion":"9"}}`),
			event("ERROR", `{"code":410,"message":"too old resource version"}`), // all is listed anew
			event("MODIFIED", podText("watched", waiting, "")),
		},
		open: make(chan struct{}), evicted: make(chan string, 10),
	}
	n := startNode(t, c, func(o *InstallOptions) { o.Repair, o.Node = RepairDelete, "n1" })
	<-c.open
	select {
	case got := <-c.evicted:
		t.Errorf("eviction of %s before the plugin is in place", got)
	default:
	}
	n.put(t, "10-bridge.conflist", bridgeList)
	var names []string
	for range 3 {
		got := <-c.evicted
		name, _, _ := strings.Cut(strings.TrimPrefix(got, "/api/v1/namespaces/shop/pods/"), "/")
		if !strings.Contains(got, `"uid":"u-`+name+`"`) {
			t.Errorf("eviction = %s, want one for this very pod", got)
		}
		names = append(names, name)
		n.log.await(t, "pod repaired")
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"listed", "relisted", "watched"}, names); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	must(t, n.stop())
}

// TestRepairerTellsOnce has a pod that fails again and again, and that no controller would make anew.
func TestRepairerTellsOnce(t *testing.T) {
	var log strings.Builder
	r := repairer{
		how: RepairDelete, log: slog.New(slog.NewTextHandler(&log, nil)), waiting: map[string]pod{}, told: map[string]bool{},
	}
	bare := strings.Replace(podText("bare", failed, ""), `"controller":true`, `"controller":false`, 1)
	for range 3 {
		if _, err := r.event("MODIFIED", []byte(bare)); err != nil {
			t.Fatal(err)
		}
		p, ok := r.next()
		if !ok {
			t.Fatal("next() = nothing, want the pod")
		}
		r.repair(t.Context(), &p, p.Status.StartTime)
	}
	if n := strings.Count(log.String(), "delete it and create it again"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log.String())
	}
	if _, err := r.event("DELETED", []byte(bare)); err != nil || len(r.told) != 0 || len(r.waiting) != 0 {
		t.Errorf("event(DELETED) = %v, left %v and %v", err, r.told, r.waiting)
	}
}

// TestRepairerReportsRefusals has an API server that allows nothing.
func TestRepairerReportsRefusals(t *testing.T) {
	log := &lines{more: make(chan struct{}, 1)}
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"no"}`)
	})
	n := startNode(t, api, func(o *InstallOptions) {
		o.Repair, o.Node, o.Uninstall.OnExit = RepairDelete, "n1", false
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	log.await(t, "status 403: no (the service account of fairlead-cni lacks a permission)")
	must(t, n.stop())
}
