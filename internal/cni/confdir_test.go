package cni

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const multus = `{"cniVersion":"0.3.1","name":"multus","type":"multus"}`

func newDir(t *testing.T, files map[string]string) *node {
	t.Helper()
	n := &node{conf: t.TempDir()}
	for name, content := range files {
		n.put(t, name, content)
	}
	return n
}

func TestEnsure(t *testing.T) {
	const old = `{"cniVersion":"1.0.0","name":"old","plugins":[{"type":"ptp"},{"type":"fairlead-cni"}]}`
	tests := []struct {
		name     string
		files    map[string]string
		confName string
		want     map[string]string
		file     string
		err      string
	}{
		{
			name:  "first_in_order",
			files: map[string]string{"10-bridge.conflist": bridgeList, "99-ptp.conflist": strings.ReplaceAll(bridgeList, "bridge", "ptp"), "00-notes.txt": "x"},
			want:  map[string]string{"10-bridge.conflist": "bridge fairlead-cni", "99-ptp.conflist": "ptp", "00-notes.txt": ""},
			file:  "10-bridge.conflist",
		},
		{
			name:  "first_valid",
			files: map[string]string{"05-broken.conflist": `{"plugins":[`, "10-bridge.conflist": bridgeList},
			want:  map[string]string{"05-broken.conflist": "", "10-bridge.conflist": "bridge fairlead-cni"},
			file:  "10-bridge.conflist",
		},
		{
			name:  "by_name",
			files: map[string]string{"10-bridge.conflist": bridgeList, "99-ptp.conflist": strings.ReplaceAll(bridgeList, "bridge", "ptp")}, confName: "99-ptp.conflist",
			want: map[string]string{"10-bridge.conflist": "bridge", "99-ptp.conflist": "ptp fairlead-cni"},
			file: "99-ptp.conflist",
		},
		{
			name:  "moves_with_the_runtime",
			files: map[string]string{"10-bridge.conflist": bridgeList, "20-old.conflist": old},
			want:  map[string]string{"10-bridge.conflist": "bridge fairlead-cni", "20-old.conflist": "ptp"},
			file:  "10-bridge.conflist",
		},
		{
			name:  "single_plugin",
			files: map[string]string{"00-multus.conf": multus, "10-bridge.conflist": bridgeList},
			want:  map[string]string{"00-multus.conf.conflist": "multus fairlead-cni", "00-multus.conf.fairlead-saved": "", "10-bridge.conflist": "bridge"},
			file:  "00-multus.conf.conflist",
		},
		{
			name:  "single_plugin_by_name",
			files: map[string]string{"00-multus.conf": multus, "10-bridge.conflist": bridgeList}, confName: "00-multus.conf",
			want: map[string]string{"00-multus.conf.conflist": "multus fairlead-cni", "00-multus.conf.fairlead-saved": "", "10-bridge.conflist": "bridge"},
			file: "00-multus.conf.conflist",
		},
		{name: "nothing", want: map[string]string{}, err: "no network configuration yet"},
		{
			name: "not_that_one", files: map[string]string{"10-bridge.conflist": bridgeList}, confName: "99-ptp.conflist",
			want: map[string]string{"10-bridge.conflist": "bridge"}, err: "99-ptp.conflist: no network configuration yet",
		},
		{
			name: "broken_only", files: map[string]string{"10-bridge.conflist": `{"name":`},
			want: map[string]string{"10-bridge.conflist": ""}, err: "10-bridge.conflist: unexpected end of JSON input",
		},
		{
			name: "too_old", files: map[string]string{"10-bridge.conflist": strings.Replace(bridgeList, "1.0.0", "0.2.0", 1)},
			want: map[string]string{"10-bridge.conflist": "bridge"}, err: `10-bridge.conflist: cniVersion "0.2.0"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newDir(t, tt.files)
			dir := confDir{path: n.conf, name: tt.confName}
			// Twice: what is in place stays untouched.
			for _, changed := range []bool{true, false} {
				got, err := dir.ensure(testEntry())
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("ensure() = %v, want %q", err, tt.err)
					}
				} else if err != nil || got.file != tt.file || got.changed != changed || got.since.IsZero() {
					t.Errorf("ensure() = %+v, %v, want file %s, changed %t", got, err, tt.file, changed)
				}
				if diff := cmp.Diff(tt.want, n.state(t)); diff != "" {
					t.Errorf("after ensure() (-want +got):\n%s", diff)
				}
			}
			before := map[string]string{}
			for name, content := range tt.files {
				if tt.name == "moves_with_the_runtime" {
					content = strings.Replace(content, `,{"type":"fairlead-cni"}`, "", 1)
				}
				before[name] = content
			}
			must(t, dir.withdraw(""))
			after := newDir(t, before)
			if diff := cmp.Diff(after.state(t), n.state(t)); diff != "" {
				t.Errorf("after withdraw() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEnsureFollowsTheOwner has the owner of a single plugin's configuration write it anew.
func TestEnsureFollowsTheOwner(t *testing.T) {
	n := newDir(t, map[string]string{"00-multus.conf": multus})
	dir := confDir{path: n.conf}
	_, err := dir.ensure(testEntry())
	must(t, err)
	n.put(t, "00-multus.conf", strings.ReplaceAll(multus, "multus", "multus2"))
	_, err = dir.ensure(testEntry())
	must(t, err)
	want := map[string]string{"00-multus.conf.conflist": "multus2 fairlead-cni", "00-multus.conf.fairlead-saved": ""}
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("after ensure() (-want +got):\n%s", diff)
	}
	n.put(t, "00-multus.conf", multus)
	must(t, dir.withdraw(""))
	b, err := os.ReadFile(filepath.Join(n.conf, "00-multus.conf"))
	if err != nil || string(b) != multus {
		t.Errorf("after withdraw() = %s, %v, want the owner's last", b, err)
	}
	if diff := cmp.Diff(map[string]string{"00-multus.conf": ""}, n.state(t)); diff != "" {
		t.Errorf("after withdraw() (-want +got):\n%s", diff)
	}
}

func TestReplaceKeepsPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte("a"), 0o600))
	must(t, replace(path, []byte("b")))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("replace() left %v, %v, want mode 0600", info, err)
	}
}

func TestWriteLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("disk full")
	if err := write(filepath.Join(dir, "f"), 0o644, func(*os.File) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("write() = %v, want %v", err, broken)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("after write() = %v, %v, want nothing", entries, err)
	}
}
