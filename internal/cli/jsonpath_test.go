package cli

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/observe"
)

// TestJSONPath: templates as kubectl takes them, over what -o json prints.
func TestJSONPath(t *testing.T) {
	file := exampleCluster(t).Kubeconfig(t)
	for _, tt := range []struct{ line, template, want string }{
		{"proxy-status", "{[*].id}", "orders-1.team users-1.team"},
		{"proxy-status", `{range [*]}{.id}={.state}{"\n"}{end}`, "orders-1.team=ERROR\nusers-1.team=SYNCED\n"},
		{"pc endpoints orders-1", `{[?(@.weight==1)].address}`, "10.244.0.3:8080"},
		{"pc all orders-1", "{.pod}", "orders-1"},
		{"diagnostics endpoints users.team:80", "{[1].port} {[1].nothing}", "8080 "},
		{"version", "{.nothing}", ""},
	} {
		code, out, errOut := inCluster(t, file, append(strings.Fields(tt.line), "-o", "jsonpath="+tt.template)...)
		if code != 0 || out != tt.want || errOut != "" {
			t.Errorf("%s -o jsonpath=%s: exit code %d, printed %q, %q, want %q", tt.line, tt.template, code, out, errOut, tt.want)
		}
	}
	for template, want := range map[string]string{
		"{.a":     `jsonpath "{.a": unclosed action`,
		"{[9].a}": "array index out of bounds",
	} {
		code, out, errOut := inCluster(t, file, "proxy-status", "-o", "jsonpath="+template)
		if code != 1 || out != "" || !strings.Contains(errOut, want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("jsonpath=%s: exit code %d, printed %q, %q, want %q", template, code, out, errOut, want)
		}
	}
}

// TestTapJSONPath: one line for each of a request's objects, as linkerd viz tap prints them.
func TestTapJSONPath(t *testing.T) {
	var out strings.Builder
	e := tapped()
	e.Duration = 2 * time.Second
	if err := newTapPrinter(&out, "jsonpath={.proxyDirection} {.requestInitEvent.path}{.responseInitEvent.httpStatus}{.responseEndEvent.sinceRequestInit.seconds}").event(e); err != nil {
		t.Fatal(err)
	}
	if want := "OUTBOUND /a\nOUTBOUND 200\nOUTBOUND 2\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	f := tapFlags{output: "jsonpath={.requestInitEvent.headers}", query: observe.Query{MaxRPS: 1}}
	if err := f.read(&mesh{namespace: "myapp"}, []string{"deploy/a"}); err != nil || !f.query.Headers {
		t.Errorf("the sidecars are not asked for headers: %v", err)
	}
}
