package lab_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestProxyBinary keeps the sidecar small: there is one in every pod.
func TestProxyBinary(t *testing.T) {
	t.Parallel()
	t.Run("size", func(t *testing.T) {
		const limit = 12<<20 + 256<<10
		st, err := os.Stat(binary("fairlead-proxy"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("fairlead-proxy: %.1f MB", float64(st.Size())/(1<<20))
		if st.Size() > limit {
			t.Errorf("%d bytes, want at most %d", st.Size(), limit)
		}
	})
	t.Run("packages", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "fairlead.dev/fairlead/cmd/fairlead-proxy").Output()
		if err != nil {
			t.Fatal(err)
		}
		for path := range strings.Lines(string(out)) {
			for _, banned := range []string{"k8s.io/", "sigs.k8s.io/", "istio.io/", "google.golang.org/grpc"} {
				if strings.HasPrefix(path, banned) {
					t.Errorf("the sidecar links %s", strings.TrimSpace(path))
				}
			}
		}
	})
}
