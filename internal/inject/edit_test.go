package inject_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/inject"
)

var update = flag.Bool("update", false, "rewrite testdata/edit")

// story is one golden file: what is put in, under which circumstances, and what is told and comes out.
type story struct {
	name    string
	archive *txtar.Archive
	request inject.Request
}

func (s *story) file(name string) (string, bool) {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

// stories reads testdata/edit.
func stories(tb testing.TB) []story {
	tb.Helper()
	paths, err := filepath.Glob("testdata/edit/*.txtar")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no golden files: %v", err)
	}
	all := make([]story, 0, len(paths))
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		s := story{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), archive: archive}
		s.request = inject.Request{NamespaceLabels: inject.EnabledNamespace(), Config: defaultConfig(), Native: true}
		if _, classic := s.file("classic"); classic {
			s.request.Native = false
		}
		if text, ok := s.file("config.yaml"); ok {
			if s.request.Config, err = inject.ParseConfig([]byte(text), s.request.Config); err != nil {
				tb.Fatal(err)
			}
		}
		all = append(all, s)
	}
	return all
}

// inject edits in.yaml. each is called with every pod before and after.
func (s *story) inject(text string, each func(before, after *corev1.Pod, d inject.Decision)) (out, told string) {
	var lines strings.Builder
	edited, err := inject.Edit([]byte(text), func(t inject.Target) (*corev1.Pod, error) {
		if t.Pod == nil {
			fmt.Fprintf(&lines, "%s: no pods\n", t)
			return nil, nil
		}
		r := s.request
		r.Namespace = t.Namespace
		after, d, err := inject.Pod(t.Pod, r)
		if err != nil {
			return nil, err
		}
		each(t.Pod, after, d)
		fmt.Fprintf(&lines, "%s: %s\n", t, d)
		for _, w := range d.Warnings {
			fmt.Fprintf(&lines, "  warning: %s\n", w)
		}
		return after, nil
	})
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(&lines, "error: %s\n", line)
		}
	}
	return string(edited), lines.String()
}

func TestEdit(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			in, _ := s.file("in.yaml")
			out, told := s.inject(in, func(_, _ *corev1.Pod, _ inject.Decision) {})
			if *update {
				rewrite(t, &s, told, out)
				return
			}
			wantTold, _ := s.file("told")
			wantOut, changed := s.file("out.yaml")
			if !changed {
				wantOut = in
			}
			if diff := cmp.Diff(wantTold, told); diff != "" {
				t.Errorf("what is told (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantOut, out); diff != "" {
				t.Errorf("out.yaml (-want +got):\n%s", diff)
			}
		})
	}
}

func rewrite(tb testing.TB, s *story, told, out string) {
	tb.Helper()
	in, _ := s.file("in.yaml")
	var kept []txtar.File
	for _, f := range s.archive.Files {
		if f.Name != "told" && f.Name != "out.yaml" {
			kept = append(kept, f)
		}
	}
	kept = append(kept, txtar.File{Name: "told", Data: []byte(told)})
	if out != in {
		kept = append(kept, txtar.File{Name: "out.yaml", Data: []byte(out)})
	}
	s.archive.Files = kept
	if err := os.WriteFile("testdata/edit/"+s.name+".txtar", txtar.Format(s.archive), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestEditTwice: what was injected is left alone, byte for byte.
func TestEditTwice(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			in, _ := s.file("in.yaml")
			once, _ := s.inject(in, func(_, _ *corev1.Pod, _ inject.Decision) {})
			twice, _ := s.inject(once, func(before, after *corev1.Pod, d inject.Decision) {
				if before != after || d.Inject() {
					t.Errorf("the second time: %s", d)
				}
			})
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("a second injection changes (-once +twice):\n%s", diff)
			}
		})
	}
}

// TestRemove: what was put in is taken out, and the pod is what it was.
func TestRemove(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			in, _ := s.file("in.yaml")
			s.inject(in, func(before, after *corev1.Pod, d inject.Decision) {
				checkRemove(t, before, after, d.Inject())
			})
		})
	}
}

func checkRemove(tb testing.TB, before, after *corev1.Pod, injected bool) {
	tb.Helper()
	back, removed, err := inject.Remove(after)
	if err != nil || removed != injected {
		tb.Fatalf("Remove = %t, %v, want %t", removed, err, injected)
	}
	if diff := cmp.Diff(before, back, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("Remove(Pod(p)) is not p (-want +got):\n%s", diff)
	}
	checkDiff(tb, after, back)
}

// TestDiff: the patch leads from one pod to the other, both ways.
func TestDiff(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			in, _ := s.file("in.yaml")
			s.inject(in, func(before, after *corev1.Pod, _ inject.Decision) { checkDiff(t, before, after) })
		})
	}
}

// checkDiff applies the patch to JSON that holds more than our types know.
func checkDiff(tb testing.TB, before, after *corev1.Pod) {
	tb.Helper()
	ops, err := json.Marshal(inject.Diff(before, after))
	if err != nil {
		tb.Fatal(err)
	}
	got := tree(tb, before)
	for _, c := range lists(got, "containers") {
		c.(map[string]any)["fromTheFuture"] = c.(map[string]any)["name"]
	}
	patched, err := applyPatch(got, ops)
	if err != nil {
		tb.Fatalf("the patch does not apply: %v\n%s", err, ops)
	}
	for _, c := range lists(patched, "containers") {
		if future := c.(map[string]any)["fromTheFuture"]; future != nil && future != c.(map[string]any)["name"] {
			tb.Errorf("an unknown field of container %v moved to %v", future, c.(map[string]any)["name"])
		}
		delete(c.(map[string]any), "fromTheFuture")
	}
	if diff := cmp.Diff(tree(tb, after), patched, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("the patched pod (-want +got):\n%s\n%s", diff, ops)
	}
}

func lists(pod map[string]any, name string) []any {
	spec, _ := pod["spec"].(map[string]any)
	list, _ := spec[name].([]any)
	return list
}

// tree is a pod as plain JSON.
func tree(tb testing.TB, pod *corev1.Pod) map[string]any {
	tb.Helper()
	text, err := json.Marshal(pod)
	if err != nil {
		tb.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		tb.Fatal(err)
	}
	return out
}
