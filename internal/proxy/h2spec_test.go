//go:build h2spec

package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// excused are the cases of h2spec that the sidecar does not pass, with the reason. Its ports speak HTTP/1.1 as well: "an
// invalid preface indicates that the peer is not using HTTP/2" (RFC 9113 §3.4), and it is answered 400 in HTTP/1.1.
var excused = []string{"Sends invalid connection preface"}

// TestH2spec runs h2spec (https://github.com/summerwind/h2spec), whose path stands in H2SPEC, against every entrance of a
// sidecar that takes HTTP/2 without TLS: outbound to a pod with a sidecar and to one without, and inbound.
func TestH2spec(t *testing.T) {
	inPairs(t, model.HTTP2, func(t runner, p *pair) {
		if !p.caller && !p.callee {
			return
		}
		p.m.h2cApp(app(p.users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "a body that is longer than the smallest windows")
		}))
		host, port, err := net.SplitHostPort(p.entrance)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), os.Getenv("H2SPEC"), "--host", host, "--port", port).CombinedOutput()
		_, failures, _ := strings.Cut(string(out), "Failures:")
		for line := range strings.Lines(failures) {
			_, name, failed := strings.Cut(line, "× ")
			if _, name, _ = strings.Cut(name, ": "); failed && !slices.Contains(excused, strings.TrimSpace(name)) {
				t.Errorf("h2spec: %s", name)
			}
		}
		count := out[strings.LastIndex(strings.TrimSpace(string(out)), "\n")+1:]
		if !strings.Contains(string(count), "passed") {
			t.Fatalf("h2spec did not come to its end: %v\n%s", err, out)
		}
		t.Logf("%s", count)
	})
}
