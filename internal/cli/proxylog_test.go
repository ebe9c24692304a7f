package cli

import "testing"

func TestWantedLevel(t *testing.T) {
	for level, want := range map[string]string{ // empty where it is refused
		"debug": "debug", "WARNING": "WARNING", "all:info": "info",
		"http:debug": "", "loud": "", "all:": "", "initial": "", "": "",
	} {
		if got, err := wantedLevel(level); got != want || (err == nil) != (want != "") {
			t.Errorf("--level %q: %q, %v, want %q", level, got, err, want)
		}
	}
}
