//go:build kube

package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// said is what a program that runs has written so far.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Each of two replicas of the control plane is killed during a tap: the tap says so and goes on with what the sidecars of all
// pods see; calls do not notice.
func TestTapOutlivesReplicas(t *testing.T) {
	n := meshed(t, "tapreplicas")
	n.apply(t, server("users", 2))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	replicas(t, 2)

	var out, notes said
	tap := exec.CommandContext(t.Context(), "../../bin/fairlead", "tap", "ns/"+n.name, "-n", n.name, "--path", "/seen", "--max-rps", "1000")
	tap.Stdout, tap.Stderr = &out, &notes
	if err := tap.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = tap.Process.Kill() // it has no end of its own
		_ = tap.Wait()
	})
	// shown calls until the calls to a path are seen at both ends, by the sidecars of all three pods.
	shown := func(path string) {
		t.Helper()
		eventually(t, "calls to "+path+" at both ends", func() (string, bool) {
			noneFailed(t, path, n.call(t, "client", "http://users:8080"+path, "--count", "10"))
			sidecars := map[string]bool{}
			for line := range strings.Lines(out.String()) {
				if words := strings.Fields(line); len(words) > 4 && words[0] == "req" && strings.HasSuffix(strings.TrimSpace(line), ":path="+path) {
					base, _, _ := strings.Cut(words[1], ":")
					sidecars[words[2]+base] = true
				}
			}
			return notes.String(), len(sidecars) == 3
		})
	}
	shown("/seen/before")
	for name := range strings.FieldsSeq(control(t, "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[*].metadata.name}")) {
		control(t, "delete", "pod", name, "--grace-period=0", "--force")
		eventually(t, "a word about "+name, func() (string, bool) {
			return notes.String(), strings.Contains(notes.String(), "fairlead: lost: control plane pod "+system+"/"+name+":")
		})
		shown("/seen/without/" + name)
	}
	t.Log(notes.String())
}
