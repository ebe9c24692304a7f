package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCopyTo(t *testing.T) {
	target := filepath.Join(t.TempDir(), "bin", "fairlead-proxy")
	for range 2 { // a container that is started again finds the first
		if err := copyTo([]string{target}); err != nil {
			t.Fatal(err)
		}
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy has %d bytes, %v, want %d", len(got), err, len(want))
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the copy is %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(target)); err != nil || len(left) != 1 {
		t.Errorf("beside the copy are %v, %v", left, err)
	}
	if err := copyTo(nil); err == nil {
		t.Error("no file is no error")
	}
}
