package model

import (
	"strings"
	"testing"
	"time"
)

func TestLogFormatFaults(t *testing.T) {
	for _, tt := range []struct {
		name, text, label string
		fault             string
	}{
		{"nothing", "", "", ""},
		{"istio's_default", `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n", "", ""},
		{"the_rest", "%TRAILER(grpc-message):9% %TRACE_ID% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER% %START_TIME(%s.%3f)% %EMIT_TIME(%Y)% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)% 100%%", "", ""},
		{"unknown", "%REQEST(x)%", "", `"%REQEST%" is no operator`},
		{"metadata", "%DYNAMIC_METADATA(a:b)%", "", "%DYNAMIC_METADATA% cannot be written: sidecars have no filters that leave metadata or state behind"},
		{"metadata_in_a_label", "", "%DYNAMIC_METADATA(a:b)%", "%DYNAMIC_METADATA% cannot be written"},
		{"a_time", "%START_TIME(%Q)%", "", "a part of the format is not known"},
		{"a_status", "%GRPC_STATUS(WORDS)%", "", "%GRPC_STATUS takes nothing"},
		{"no_end", "%REQ(x", "", "%REQ( without an end"},
		{"more_of_them", "%QUERY_PARAM(a b):3% %UPSTREAM_PROTOCOL% %UPSTREAM_PEER_URI_SAN% %UPSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN%", "", ""},
		{"no_parameter", "%QUERY_PARAM%", "", "which parameter?"},
		{"no_length", "%DURATION:3%", "", `":3" behind %DURATION`},
		{"too_long", strings.Repeat("a", 9000), "", "9000 bytes, more than 8192"},
		{"too_many", strings.Repeat("%PROTOCOL%", 300), "", "300 parts, more than 256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := LogFormat{Text: tt.text}
			if tt.label != "" {
				f.Labels = []LogLabel{{Key: "a", Format: "b"}, {Key: "l", Format: tt.label}}
			}
			label, err := f.Fault()
			switch {
			case err == nil && tt.fault == "":
			case err == nil || tt.fault == "" || !strings.Contains(err.Why, tt.fault):
				t.Errorf("%v, want %q", err, tt.fault)
			case tt.label != "" && label != "l":
				t.Errorf("of the label %q", label)
			}
		})
	}
	twice := LogFormat{Labels: []LogLabel{{Key: "a"}, {Key: "a"}}}
	if _, err := twice.Fault(); err == nil {
		t.Error("a label that is there twice has no fault")
	}
}

// TestHeaderTemplatesKeepTheirOperators: what is known at the end of a call alone is no operator of headers.
func TestHeaderTemplatesKeepTheirOperators(t *testing.T) {
	for name := range logOperators {
		if _, both := operators[name]; both {
			continue
		}
		if _, err := ParseTemplate("%" + name + "%"); err == nil {
			t.Errorf("ParseTemplate knows %s", name)
		}
	}
}

// FuzzParseLogFormat: a format is parts or refused, never both, and so is each format of a time.
func FuzzParseLogFormat(f *testing.F) {
	for _, seed := range []string{"", "%START_TIME(%s%3f%E9S%%)%", "%TRAILER(a?b):3%", "%RESPONSE_CODE%", "%CEL(x)%", "%EMIT_TIME(%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := ParseLogFormat(text)
		if (err != nil) && (parts != nil || err.Why == "") {
			t.Errorf("%v and %+v", parts, err)
		}
		if times, ok := timeFormat(text); ok {
			AppendTime(nil, time.Unix(0, 0), times)
			for _, p := range times {
				if p.Digits > 9 || p == (TimePart{}) {
					t.Errorf("part %+v of %q", p, text)
				}
			}
		}
	})
}
