package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, i := range images() {
		if err := os.WriteFile(filepath.Join(dir, i.binary), []byte("program "+i.binary), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRun(t *testing.T) {
	o := options{bin: binaries(t), out: filepath.Join(t.TempDir(), "dist"), hub: "registry.local/mesh", tag: "v1", arch: "arm64", revision: "abc"}
	var progress bytes.Buffer
	if err := run(o, &progress); err != nil {
		t.Fatal(err)
	}
	if got := progress.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "registry.local/mesh/proxy:v1 sha256:") {
		t.Errorf("progress = %q", got)
	}
	img, err := tarball.ImageFromPath(filepath.Join(o.out, "fairlead-proxy.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "1337:1337", Env: []string{"PATH=/usr/local/bin"}, Entrypoint: []string{"/usr/local/bin/fairlead-proxy"}, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": "Fairlead sidecar", "org.opencontainers.image.version": "v1", "org.opencontainers.image.revision": "abc",
			"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.source": "https://fairlead.dev/fairlead",
		},
	}
	if diff := cmp.Diff(want, file.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if file.OS != "linux" || file.Architecture != "arm64" {
		t.Errorf("platform = %s/%s, want linux/arm64", file.OS, file.Architecture)
	}
	wantFiles := map[string]string{
		"etc/": "", "usr/": "", "usr/local/": "", "usr/local/bin/": "",
		"etc/group":                    "root:x:0:\nfairlead:x:1337:\n",
		"etc/passwd":                   "root:x:0:0:root:/:/sbin/nologin\nfairlead:x:1337:1337:fairlead:/:/sbin/nologin\n",
		"usr/local/bin/fairlead-proxy": "program fairlead-proxy",
	}
	if diff := cmp.Diff(wantFiles, contents(t, img)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func contents(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = string(data)
		}
		r.Close()
	}
	return files
}

func TestRunIsReproducible(t *testing.T) {
	o := options{bin: binaries(t), hub: "fairlead", tag: "v1", arch: "amd64"}
	read := func() map[string][]byte {
		o.out = t.TempDir()
		if err := run(o, io.Discard); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, i := range images() {
			data, err := os.ReadFile(filepath.Join(o.out, i.binary+".tar"))
			if err != nil {
				t.Fatal(err)
			}
			files[i.binary] = data
		}
		return files
	}
	first, second := read(), read()
	for name := range first {
		if !bytes.Equal(first[name], second[name]) {
			t.Errorf("%s: two archives of the same binary differ", name)
		}
	}
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	err := run(options{bin: t.TempDir(), out: t.TempDir(), hub: "fairlead", tag: "v1"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "fairlead-proxy") {
		t.Errorf("run without binaries = %v, want an error that names fairlead-proxy", err)
	}
	err = run(options{bin: binaries(t), out: t.TempDir(), hub: "fairlead", tag: "not a tag"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "not a tag") {
		t.Errorf("run with a bad tag = %v, want an error that names it", err)
	}
}
