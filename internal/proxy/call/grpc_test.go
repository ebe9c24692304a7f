package call

import (
	"testing"
)

func TestKnownGRPCStatus(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "14": "14", "17": "2", "": "2", "x": "2", "999": "2", "-1": "2"} {
		if got := knownGRPCStatus([]byte(in)); got != want {
			t.Errorf("knownGRPCStatus(%q) = %q, want %q", in, got, want)
		}
	}
	if got := knownGRPCStatus(nil); got != "" {
		t.Errorf("knownGRPCStatus(nil) = %q", got)
	}
	if got := string(appendGRPCMessage(nil, "50% “ok”\n")); got != "50%25 %E2%80%9Cok%E2%80%9D%0A" {
		t.Errorf("appendGRPCMessage = %q", got)
	}
}
