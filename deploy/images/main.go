// Command images makes container images of the static binaries: one layer with the binary and /etc/passwd on top of
// nothing, no shell and no certificates. No container engine and no registry is asked.
//
// It writes one archive for each image in the form of `docker save`, which `ctr images import`, `docker load`,
// `skopeo copy docker-archive:…` and `crane push` take. The same binaries give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// binDir is where the binaries are in the images; it is their PATH.
const binDir = "/usr/local/bin"

// image is one of the images.
type image struct {
	name, binary, title string
	// user is who the binary runs as unless the pod says otherwise.
	user int
}

func images() []image {
	return []image{
		// 1337 is the user whose traffic the redirection leaves alone (internal/redirect.DefaultUser).
		{name: "proxy", binary: "fairlead-proxy", title: "Fairlead sidecar", user: 1337},
		// 65532 is the customary "nonroot".
		{name: "controller", binary: "fairlead-controller", title: "Fairlead control plane", user: 65532},
	}
}

// options are the flags.
type options struct {
	bin, out, hub, tag, arch, revision string
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`DIRECTORY` with the binaries")
	flag.StringVar(&o.out, "out", "dist", "`DIRECTORY` for the archives, fairlead-proxy.tar and fairlead-controller.tar")
	flag.StringVar(&o.hub, "hub", "localhost/fairlead", "`PREFIX` of the images' names: a registry and a path, localhost for none")
	flag.StringVar(&o.tag, "tag", "dev", "`TAG` of the images: the version")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "`ARCHITECTURE` that the binaries were built for")
	flag.StringVar(&o.revision, "revision", "", "`COMMIT` that the binaries were built from")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(o options, progress io.Writer) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil { //nolint:gosec // a directory of build results
		return err
	}
	for _, i := range images() {
		ref, err := name.NewTag(o.hub + "/" + i.name + ":" + o.tag)
		if err != nil {
			return err
		}
		binary, err := os.ReadFile(filepath.Join(o.bin, i.binary))
		if err != nil {
			return err
		}
		img, err := i.build(binary, o)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		file := filepath.Join(o.out, i.binary+".tar")
		if err := write(file, ref, img); err != nil {
			return err
		}
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s  %s:%s %s\n", file, path.Join(o.hub, i.name), o.tag, digest)
	}
	return nil
}

// write replaces the file at once, so that nobody imports half an archive.
func write(file string, ref name.Tag, img v1.Image) error {
	temporary := file + ".tmp"
	if err := tarball.WriteToFile(temporary, ref, img); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// build puts the image together.
func (i image) build(binary []byte, o options) (v1.Image, error) { //nolint:ireturn // the library has no other
	layer, err := i.layer(binary)
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{CreatedBy: "deploy/images", Created: v1.Time{Time: epoch()}},
	})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", o.arch, v1.Time{Time: epoch()}
	file.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", i.user, i.user),
		Env:        []string{"PATH=" + binDir},
		Entrypoint: []string{path.Join(binDir, i.binary)},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    i.title,
			"org.opencontainers.image.version":  o.tag,
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":   "https://fairlead.dev/fairlead",
			"org.opencontainers.image.revision": cmp.Or(o.revision, "unknown"),
		},
	}
	return mutate.ConfigFile(img, file)
}

// epoch is the time of everything in an image, or no two builds would be the same.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// layer is the only layer: directories, the user database, the binary.
func (i image) layer(binary []byte) (v1.Layer, error) { //nolint:ireturn // the library has no other
	passwd := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nfairlead:x:%d:%d:fairlead:/:/sbin/nologin\n", i.user, i.user)
	group := fmt.Sprintf("root:x:0:\nfairlead:x:%d:\n", i.user)
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	entries := []struct {
		name string
		mode int64
		data []byte
	}{
		{"etc/", 0o755, nil},
		{"etc/group", 0o644, []byte(group)},
		{"etc/passwd", 0o644, []byte(passwd)},
		{"usr/", 0o755, nil},
		{"usr/local/", 0o755, nil},
		{"usr/local/bin/", 0o755, nil},
		{strings.TrimPrefix(binDir, "/") + "/" + i.binary, 0o755, binary},
	}
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.data)), ModTime: epoch(), Format: tar.FormatUSTAR}
		if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
}
