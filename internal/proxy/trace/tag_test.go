package trace

import (
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

// TestTags: what a tag says of a request, by where it is from.
func TestTags(t *testing.T) {
	o := &Options{Env: func(name string) string { return map[string]string{"ZONE": "north"}[name] }, Host: "pod-1"}
	r := &telemetry.Record{
		HeadAfter: -1, Protocol: "HTTP/2", Method: []byte("GET"), Path: []byte("/a"), Header: fieldsOf("x-who: ann \"x\""), Code: 503, Flags: "UF,URX", Tries: 2,
	}
	for _, tt := range []struct {
		name, want string
		tag        model.TraceTag
	}{
		{"literal", "blue", model.TraceTag{From: model.TagLiteral, Value: "blue"}},
		{"variable", "north", model.TraceTag{From: model.TagEnvironment, Value: "ZONE"}},
		{"no_variable", "", model.TraceTag{From: model.TagEnvironment, Value: "GONE"}},
		{"header", `ann "x"`, model.TraceTag{From: model.TagHeader, Value: "x-who"}},
		{"no_header", "none", model.TraceTag{From: model.TagHeader, Value: "x-gone", Default: "none"}},
		{"format", `GET /a: 503 UF,URX after 2 by ann "x" 100% pod-1`, model.TraceTag{From: model.TagFormat, Value: "%REQ(:METHOD)% %REQ(:PATH)%: %RESPONSE_CODE% %RESPONSE_FLAGS% after %UPSTREAM_REQUEST_ATTEMPT_COUNT% by %REQ(X-WHO)% 100%% %HOSTNAME%"}},
		{"format_of_what_is_not_known", "a:", model.TraceTag{From: model.TagFormat, Value: "a:%UPSTREAM_HOST%%RESP(x)%%RESPONSE_DURATION%%REQUESTED_SERVER_NAME%"}},
		{"format_without_a_value", "", model.TraceTag{From: model.TagFormat, Value: "%UPSTREAM_HOST%"}},
		{"format_of_a_later_version", "", model.TraceTag{From: model.TagFormat, Value: "a %OF_A_LATER_VERSION%"}},
		{"nothing", "", model.TraceTag{From: model.TagFormat}},
		{"source_of_a_later_version", "", model.TraceTag{Value: "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.tag.Name = "t"
			own := newTag(tt.tag, o)
			if got := string(own.of(r, make([]byte, 0, 16))); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
