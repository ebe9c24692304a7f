package model

import (
	"testing"
	"time"
)

// The parts of a format in a header's value, as an operator of a VirtualService has them, are those of access logs.
func TestAppendTime(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_090_000, time.FixedZone("", 3600))
	for value, want := range map[string]string{
		"%START_TIME%":                           "2026-03-04T04:06:07.008Z",
		"%START_TIME(%s.%3f)%":                   "1772597167.008",
		"%START_TIME(%Y/%m/%dT%H:%M:%E3SZ %s)%":  "2026/03/04T04:06:07.008Z 1772597167",
		"%START_TIME(at 15 on %A, 100%% of %f)%": "at 15 on Wednesday, 100% of 008090000",
		"%START_TIME(%d/%b/%Y:%H:%M:%S %z %6f)%": "04/Mar/2026:04:06:07 +0000 008090",
	} {
		parts, err := ParseTemplate(value)
		if err != nil || len(parts) != 1 {
			t.Fatalf("ParseTemplate(%q) = %+v, %v", value, parts, err)
		}
		if got := string(AppendTime(nil, at, parts[0].Times)); got != want {
			t.Errorf("%s = %q, want %q", value, got, want)
		}
	}
}
