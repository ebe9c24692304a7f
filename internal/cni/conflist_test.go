package cni

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

func testEntry() member {
	e := newMember()
	e.Kubeconfig = "/etc/cni/net.d/fairlead-cni.kubeconfig"
	e.ExcludeNamespaces = []string{"fairlead-system", "kube-system"}
	return e
}

// TestInsert has one file per network plugin: its configuration, and the same with ours. Both must be valid for the
// library that runtimes use.
func TestInsert(t *testing.T) {
	files, err := filepath.Glob("testdata/insert/*.txtar")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no testdata")
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			must(t, err)
			input, single := archive.Files[0].Data, filepath.Ext(archive.Files[0].Name) != extList
			list := input
			if single {
				list, err = convert(input)
				must(t, err)
			}
			got, err := insert(list, testEntry())
			must(t, err)
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "with" + extList, Data: got})
				must(t, os.WriteFile(path, txtar.Format(archive), 0o644))
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), string(got)); diff != "" {
				t.Errorf("insert() (-want +got):\n%s", diff)
			}
			if _, err := libcni.ConfListFromBytes(got); err != nil {
				t.Errorf("libcni.ConfListFromBytes() = %v", err)
			}
			again, err := insert(got, testEntry())
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("insert() a second time = %s, %v, want no change", again, err)
			}
			without, was, err := remove(got)
			if err != nil || !was {
				t.Fatalf("remove() = %t, %v, want true", was, err)
			}
			if diff := cmp.Diff(decode(t, list), decode(t, without)); diff != "" && !strings.Contains(string(input), Name) {
				t.Errorf("remove(insert(x)) (-x +got):\n%s", diff)
			}
			if _, was, err := remove(without); was || err != nil {
				t.Errorf("remove() a second time = %t, %v, want false", was, err)
			}
		})
	}
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	must(t, json.Unmarshal(b, &v))
	return v
}

func TestInsertRefuses(t *testing.T) {
	tests := []struct{ name, conf, want string }{
		{"no_json", `plugins:`, "invalid character"},
		{"half_a_file", `{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"bri`, "unexpected end"},
		{"no_plugins", `{"name":"n","cniVersion":"1.0.0"}`, "no list of plugins"},
		{"empty_plugins", `{"name":"n","cniVersion":"1.0.0","plugins":[]}`, "no list of plugins"},
		{"plugin_without_type", `{"name":"n","cniVersion":"1.0.0","plugins":[{}]}`, "plugin 0 has no type"},
		{"null", `null`, "no list of plugins"},
		{"no_name", `{"cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}`, "no name"},
		{"version_without_chains", `{"name":"n","cniVersion":"0.2.0","plugins":[{"type":"bridge"}]}`, `cniVersion "0.2.0"`},
		{"no_version", `{"name":"n","plugins":[{"type":"bridge"}]}`, `cniVersion ""`},
		{"version_of_the_future", `{"name":"n","cniVersion":"2.0.0","plugins":[{"type":"bridge"}]}`, `cniVersion "2.0.0"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := insert([]byte(tt.conf), testEntry()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("insert() = %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzInsert(f *testing.F) {
	files, err := filepath.Glob("testdata/insert/*.txtar")
	must(f, err)
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		must(f, err)
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, conf []byte) {
		got, err := insert(conf, testEntry())
		if err != nil {
			return
		}
		if again, err := insert(got, testEntry()); err != nil || !bytes.Equal(again, got) {
			t.Errorf("insert(insert(%s)) = %s, %v, want %s", conf, again, err, got)
		}
		if _, was, _ := remove(got); !was {
			t.Errorf("remove(insert(%s)) did not find the plugin", conf)
		}
	})
}
