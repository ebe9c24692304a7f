package admin

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"fairlead.dev/fairlead/internal/exposition"
)

// TestMetricsInProtobuf: a scraper that takes protobuf gets it where there are native histograms, the text of the app's page included; others
// get text, and so does everybody where there are none.
func TestMetricsInProtobuf(t *testing.T) {
	const offer = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	for name, test := range map[string]struct {
		accept           string
		native, protobuf bool
	}{
		"offered":           {offer, true, true},
		"text_alone":        {"text/plain;version=0.0.4", true, false},
		"nothing_said":      {"", true, false},
		"not_of_this_mesh":  {offer, false, false},
		"another_protobuf":  {strings.Replace(offer, "delimited", "text", 1), true, false},
		"text_liked_better": {strings.Replace(offer, "delimited", "delimited;q=0.1", 1), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			pages := Sidecar{
				Probes: http.NotFoundHandler(), Ready: func() string { return "" },
				Metrics: &Metrics{
					Native: func() bool { return test.native },
					Write: func(w io.Writer) error {
						_, err := io.WriteString(w, "# TYPE own counter\nown 1\n")
						if w, ok := w.(*exposition.Writer); ok {
							w.Histogram("latency", "", &exposition.Histogram{Count: 2, ZeroCount: 2, ZeroThreshold: 1})
						}
						return err
					},
				},
				App: func(_ *http.Request, w io.Writer) error {
					_, err := io.WriteString(w, "# TYPE apps gauge\napps{a=\"b\"} 3\n")
					return err
				},
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/stats/prometheus", http.NoBody)
			r.Header.Set("Accept", test.accept)
			answer := httptest.NewRecorder()
			pages.Agent().ServeHTTP(answer, r)
			kind := answer.Header().Get("Content-Type")
			if !test.protobuf {
				if body := answer.Body.String(); kind != exposition.Text || body != "# TYPE own counter\nown 1\n# TYPE apps gauge\napps{a=\"b\"} 3\n" {
					t.Errorf("%s: %q", kind, body)
				}
				return
			}
			if kind != exposition.Protobuf {
				t.Errorf("content type %q", kind)
			}
			var names []string
			for in := bufio.NewReader(answer.Body); ; {
				f := new(dto.MetricFamily)
				err := protodelim.UnmarshalFrom(in, f)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, f.GetName()+" "+f.GetType().String())
			}
			if got := strings.Join(names, ", "); got != "own COUNTER, latency HISTOGRAM, apps GAUGE" {
				t.Errorf("families %s", got)
			}
		})
	}
}
