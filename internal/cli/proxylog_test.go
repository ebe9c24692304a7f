package cli

import "testing"

func TestWantedLevel(t *testing.T) {
	for _, tt := range []struct {
		level string
		reset bool
		want  string // empty where it is refused
	}{
		{"debug", false, "debug"}, {"WARNING", false, "WARNING"}, {"all:info", false, "info"}, {"", true, "initial"},
		{"http:debug", false, ""}, {"loud", false, ""}, {"all:", false, ""}, {"initial", false, ""}, {"debug", true, ""},
	} {
		if got, err := wantedLevel(tt.level, tt.reset); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("--level %q, --reset=%v: %q, %v, want %q", tt.level, tt.reset, got, err, tt.want)
		}
	}
}
