package remote

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// fake is a source that does as it is told.
type fake struct {
	says    chan func(Sink)
	fails   chan error
	trouble string
	skew    time.Duration
	since   time.Time
	running bool
}

func newFake() *fake { return &fake{says: make(chan func(Sink)), fails: make(chan error)} }

func (f *fake) Run(ctx context.Context, sink Sink) error {
	f.running = true
	defer func() { f.running = false }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case say := <-f.says:
			say(sink)
		case err := <-f.fails:
			return err
		}
	}
}

func (f *fake) Trouble() (time.Time, string) { return f.since, f.trouble }

func (f *fake) Skew() time.Duration { return f.skew }

func (f *fake) whole(names ...string) {
	f.says <- func(s Sink) { s.Whole(objects(names...)) }
	synctest.Wait()
}

func objects(names ...string) []source.Object {
	out := make([]source.Object, len(names))
	for i, n := range names {
		out[i] = source.Object{Ref: model.Ref{Kind: "Pod", Key: model.Key{Namespace: "myapp", Name: n}}}
	}
	return out
}

// world is a set that runs, and what its sink knows.
type world struct {
	*Set
	log   strings.Builder
	there map[string]bool
}

// run gives a set to fn inside a bubble, and joins it.
func run(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{there: map[string]bool{}}
		w.Set = New(Options{
			Own: "west", Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
			Wanted: func(o source.Object) bool { return o.Ref.Name != "unwanted" && o.Ref.Name != "control-plane" },
			CallsItself: func(o source.Object) (string, bool) {
				name, _ := o.Value.(string)
				return name, o.Ref.Name == "control-plane"
			},
			Sink: func(c source.Change) {
				for _, o := range c.Upserts {
					w.there[o.Ref.Cluster+"/"+o.Ref.Name] = true
				}
				for _, ref := range c.Deletes {
					if !w.there[ref.Cluster+"/"+ref.Name] {
						t.Errorf("%s of %s is deleted, and was never there", ref.Name, ref.Cluster)
					}
					delete(w.there, ref.Cluster+"/"+ref.Name)
				}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		synctest.Wait()
		fn(t, w)
		cancel()
		<-done
	})
}

func (w *world) wants(t *testing.T, when string, names ...string) {
	t.Helper()
	synctest.Wait()
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	if diff := cmp.Diff(want, w.there); diff != "" {
		t.Errorf("%s: what is known (-want +got):\n%s", when, diff)
	}
}

func (w *world) status(t *testing.T, name string) Status {
	t.Helper()
	for _, s := range w.Statuses(time.Now()) {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no status of cluster %s", name)
	return Status{}
}

func spec(version string, f *fake) Spec {
	return Spec{Print: version, Open: func() (Source, error) { return f, nil }}
}

func TestWhatAClusterSaidLastStays(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		east, north := newFake(), newFake()
		w.Declare("secret a", map[string]Spec{"east": spec("1", east)})
		w.Declare("secret b", map[string]Spec{"north": spec("1", north)})
		east.whole("e1", "e2", "unwanted")
		w.wants(t, "at first", "east/e1", "east/e2")
		if s := w.status(t, "east"); s.State != Synced || s.Age != 0 || s.Objects != 2 {
			t.Errorf("status of east is %+v, want synced", s)
		}
		if s := w.status(t, "north"); s.State != Syncing {
			t.Errorf("status of north, which has said nothing yet, is %s", s.State)
		}
		time.Sleep(time.Minute)
		if s := w.status(t, "north"); s.State != Timeout {
			t.Errorf("status of north, which says nothing, is %s", s.State)
		}
		east.since, east.trouble = time.Now(), "connection refused"
		time.Sleep(time.Minute)
		w.wants(t, "with east away", "east/e1", "east/e2")
		if s := w.status(t, "east"); s.State != Stale || s.Age != time.Minute || s.Cause != "connection refused" {
			t.Errorf("status of east is %+v, want stale for a minute", s)
		}
		east.trouble = ""
		east.fails <- errors.New("the certificate cannot be read")
		time.Sleep(time.Second)
		w.wants(t, "with a source that cannot run", "east/e1", "east/e2")
		if s := w.status(t, "east"); s.State != Stale || !strings.Contains(s.Cause, "certificate") {
			t.Errorf("status of east is %+v, want the reason", s)
		}
		time.Sleep(retryPause)
		east.whole("e2", "e3")
		w.wants(t, "with east back", "east/e2", "east/e3")
		if s := w.status(t, "east"); s.State != Synced {
			t.Errorf("status of east is %+v, want synced", s)
		}
	})
}

func TestAClusterThatIsTakenAwayLeavesAtOnce(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		east, north := newFake(), newFake()
		w.Declare("secret", map[string]Spec{"east": spec("1", east), "north": spec("1", north)})
		east.whole("e1")
		north.whole("n1")
		w.wants(t, "at first", "east/e1", "north/n1")
		w.Declare("secret", map[string]Spec{"north": spec("1", north)})
		w.wants(t, "without east", "north/n1")
		if east.running {
			t.Error("the source of a cluster that is none goes on")
		}
		w.Declare("secret", nil)
		w.wants(t, "without any")
	})
}

// A source that is no longer the cluster's is not listened to: what it says late would stay for ever.
func TestALateWordIsNotHeard(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		slow := newFake()
		hold, said := make(chan struct{}), make(chan struct{})
		w.Declare("secret", map[string]Spec{"east": spec("1", slow)})
		slow.says <- func(s Sink) {
			<-hold
			s.Whole(objects("late"))
			s.Changed(source.Change{Upserts: objects("later")})
			close(said)
		}
		w.Declare("secret", nil)
		close(hold)
		<-said
		w.wants(t, "after it was taken away")
	})
}

func TestOtherCredentialsKeepWhatIsKnown(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		before, after := newFake(), newFake()
		w.Declare("secret", map[string]Spec{"east": spec("1", before)})
		before.whole("e1", "e2")
		w.Declare("secret", map[string]Spec{"east": spec("2", after)})
		w.wants(t, "before the new source has said anything", "east/e1", "east/e2")
		if before.running {
			t.Error("the former source goes on")
		}
		after.whole("e2", "e3")
		w.wants(t, "after", "east/e2", "east/e3")
		w.Declare("secret", map[string]Spec{"east": {Print: "3", Open: func() (Source, error) { return nil, errors.New("exec is not allowed") }}})
		after.says <- func(s Sink) {
			s.Changed(source.Change{Deletes: []model.Ref{objects("e2")[0].Ref}, Upserts: objects("e4")})
		}
		w.wants(t, "with a declaration that cannot be followed", "east/e3", "east/e4")
		if s := w.status(t, "east"); s.State != Synced || s.Cause != "exec is not allowed" {
			t.Errorf("status is %+v, want it to go on with the former declaration, and to say why", s)
		}
	})
}

func TestDeclarationsInVain(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		east, other := newFake(), newFake()
		w.Declare("secret b", map[string]Spec{"east": spec("1", east)})
		east.whole("e1")
		w.Declare("secret a", map[string]Spec{
			"east": spec("2", other), "west": spec("1", other), "no/name": spec("1", other),
			"broken": {Print: "1", Open: func() (Source, error) { return nil, errors.New("no kubeconfig") }},
		})
		w.wants(t, "with a second declaration of the same name", "east/e1")
		got := map[string]string{}
		for _, s := range w.Statuses(time.Now()) {
			got[s.By+" "+s.Name] = string(s.State) + " " + s.Cause
		}
		want := map[string]string{
			"secret b east":    "synced ",
			"secret a east":    "refused cluster east is declared by secret b already: remove one, or give the clusters different names",
			"secret a west":    "refused west is the name of this cluster itself: give each cluster of the mesh a name of its own",
			"secret a no/name": `refused "no/name" is no name of a cluster: write up to 63 letters, digits, dashes, dots and underscores`,
			"secret a broken":  "refused no kubeconfig",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
		w.Declare("secret b", nil)
		w.wants(t, "the first one goes: the second one has not said anything yet", "east/e1")
		other.whole("o1")
		w.wants(t, "then", "east/o1")
	})
}

func TestTooManyClusters(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		many := map[string]Spec{}
		for i := range MaxClusters + 1 {
			many["c"+strings.Repeat("x", i%50)+string(rune('a'+i/50))] = spec("1", newFake())
		}
		w.Declare("secret", many)
		refused := 0
		for _, s := range w.Statuses(time.Now()) {
			if s.State == Refused {
				refused++
			}
		}
		if len(many) != MaxClusters+1 || refused != 1 {
			t.Errorf("%d of %d clusters are refused, want 1 of %d", refused, len(many), MaxClusters+1)
		}
	})
}

func TestSettleWaitsForAWhileOnly(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		took := func() time.Duration {
			start := time.Now()
			w.Settle(t.Context(), "secret", 2*time.Second)
			return time.Since(start)
		}
		if d := took(); d != 2*time.Second {
			t.Errorf("it waited %s for a declarer that says nothing", d)
		}
		w.Listed("secret")
		if d := took(); d != 0 {
			t.Errorf("it waited %s for no cluster", d)
		}
		silent, refuses, fails, answers := newFake(), newFake(), newFake(), newFake()
		refuses.trouble = "401"
		w.Declare("secret", map[string]Spec{"refuses": spec("1", refuses), "fails": spec("1", fails), "answers": spec("1", answers)})
		fails.fails <- errors.New("no")
		time.AfterFunc(time.Second, func() { answers.whole() })
		if d := took(); d != time.Second {
			t.Errorf("it waited %s, want 1 s: until the one that has no trouble has answered", d)
		}
		w.Declare("secret too", map[string]Spec{"silent": spec("1", silent)})
		if d := took(); d != 2*time.Second {
			t.Errorf("it waited %s for a cluster that says nothing", d)
		}
	})
}

// A cluster that calls itself otherwise than it is declared, or as another one does, is followed, and both are said.
func TestClustersThatHaveOneName(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		clusters := map[string]*fake{}
		for _, name := range []string{"east", "north", "south"} {
			clusters[name] = newFake()
			w.Declare("secret "+name, map[string]Spec{name: spec("1", clusters[name])})
		}
		says := func(cluster, itself string) {
			all := append(objects("pod"), source.Object{Ref: objects("control-plane")[0].Ref, Value: itself})
			clusters[cluster].says <- func(s Sink) { s.Whole(all) }
			synctest.Wait()
		}
		wants := func(when string, want map[string]string) {
			t.Helper()
			w.wants(t, when, "east/pod", "north/pod", "south/pod")
			for _, s := range w.Statuses(time.Now()) {
				reason := ""
				if s.Misnamed != nil {
					if reason = s.Misnamed.Reason; s.Misnamed.By != (model.Ref{Kind: "Pod", Key: model.Key{Namespace: "myapp", Name: "control-plane"}, Cluster: s.Name}) {
						t.Errorf("%s: %s is said by %v", when, s.Name, s.Misnamed.By)
					}
				}
				if (reason == "") != (want[s.Name] == "") || !strings.Contains(reason, want[s.Name]) || s.State != Synced {
					t.Errorf("%s: %s is %s: %q, want %q", when, s.Name, s.State, reason, want[s.Name])
				}
			}
		}
		for _, name := range []string{"east", "north", "south"} {
			says(name, name)
		}
		wants("each has its own name", nil)
		says("east", "west")
		wants("one is called as this cluster", map[string]string{"east": "it calls itself west, as this cluster does: two clusters have one name"})
		says("east", "north")
		wants("two are called as one of them", map[string]string{
			"east":  "it calls itself north, and so does the cluster that is declared as north:",
			"north": "it calls itself north, and so does the cluster that is declared as east:",
		})
		clusters["east"].says <- func(s Sink) { s.Changed(source.Change{Deletes: []model.Ref{objects("control-plane")[0].Ref}}) }
		synctest.Wait()
		wants("one does not say it any more", nil)
		says("south", "Kubernetes")
		wants("one is declared by another name", map[string]string{"south": "it is declared as south and calls itself Kubernetes: declare it by its own name"})
		clusters["south"].whole("pod")
		wants("one does not say it from now on", nil)
	})
}

func TestClocksOfClusters(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		east := newFake()
		w.Declare("secret a", map[string]Spec{"east": spec("1", east)})
		east.whole("e1")
		for skew, want := range map[time.Duration]string{
			0: "", 29 * time.Second: "", -29 * time.Second: "",
			10 * time.Minute:  "the clock of its API server is 10m0s ahead of this control plane's: ",
			-40 * time.Second: "the clock of its API server is 40s behind this control plane's: ",
		} {
			east.skew = skew
			if got := w.status(t, "east"); !strings.HasPrefix(got.Clock, want) || (want == "") != (got.Clock == "") || got.State != Synced || got.Cause != "" {
				t.Errorf("by a clock that is %s ahead the status is %+v, want %q", skew, got, want)
			}
		}
	})
}
