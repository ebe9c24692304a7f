package controlplane

import (
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/validate"
)

// TestEveryKindIsTranslatedAlike: `fairlead validate`, a control plane that runs, and admission say the same of an object of
// every kind, and the row of each is put to the test.
func TestEveryKindIsTranslatedAlike(t *testing.T) {
	text, err := os.ReadFile("../config/testdata/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, read := file.Decode("kinds.yaml", text)
	if len(read) > 0 {
		t.Fatal(read)
	}
	for _, k := range config.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(o source.Object) bool { return o.Ref.Kind == k.Name })
			if i < 0 {
				t.Fatal("no object of the kind in testdata/kinds.yaml")
			}
			o := all[i]
			validated := said(validate.Objects([]source.Object{o}, nil, "cluster.local"))
			if nothingCanBeWrong := k.Name == "Node" || k.Name == "ServiceAccount"; nothingCanBeWrong == (len(validated) > 0) {
				t.Errorf("validate says %q", validated)
			}
			if diff := cmp.Diff(validated, said(running(t, o))); diff != "" {
				t.Errorf("a control plane that runs says something else than validate (-validate +running):\n%s", diff)
			}
			raw, err := json.Marshal(o.Value)
			if err != nil {
				t.Fatal(err)
			}
			v := engineWith(t, "").review(raw)
			if diff := cmp.Diff(validated, slices.Sorted(slices.Values(append(v.refusals, v.warnings...)))); diff != "" {
				t.Errorf("admission says something else than validate (-validate +admission):\n%s", diff)
			}
		})
	}
}

// running gives the problems of an engine that has read one object, once the whole model was checked.
func running(t *testing.T, o source.Object) (problems []model.Problem) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(engineOptions{
			global: compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local"}, log: slog.New(slog.DiscardHandler),
			publish: func([]graph.Key, time.Time) {},
		})
		done := make(chan struct{})
		ctx := t.Context()
		go func() { e.run(ctx); close(done) }()
		e.inbox.receive(source.Change{Upserts: []source.Object{o}})
		time.Sleep(time.Minute) // of the bubble
		problems = e.problems.list()
	})
	return problems
}

// said gives the lines of problems, without severity and position, sorted.
func said(problems []model.Problem) []string {
	var out []string
	for _, p := range problems {
		p.Pos = model.Position{}
		_, line, _ := strings.Cut(p.String(), ": ")
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}
