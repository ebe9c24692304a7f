// Command image makes a container image of files of this machine, for clusters without a registry:
//
//	image -o app.tar -name docker.io/example/app:1 [-entrypoint /app,serve] [-user 1000] SOURCE:TARGET ...
//
// SOURCE is a file or a directory with all that is in it. The archive is what `ctr images import` takes.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
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

func main() {
	out := flag.String("o", "", "`FILE` that is written")
	ref := flag.String("name", "", "`NAME:TAG` of the image")
	entry := flag.String("entrypoint", "", "`COMMAND` and arguments, comma-separated")
	user := flag.String("user", "", "`ID` that it runs as")
	flag.Parse()
	if err := run(*out, *ref, v1.Config{User: *user, Env: []string{"PATH=/usr/bin:/bin:/"}, WorkingDir: "/", Entrypoint: words(*entry)}, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func words(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func run(out, ref string, config v1.Config, files []string) error {
	if out == "" || len(files) == 0 {
		return errors.New("say -o FILE, -name NAME:TAG and at least one SOURCE:TARGET")
	}
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if err := pack(&content, files); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, img)
}

// pack writes the files, owned by root, and a /tmp for everybody.
func pack(to io.Writer, files []string) error {
	w := tar.NewWriter(to)
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	for _, f := range files {
		source, target, ok := strings.Cut(f, ":")
		if !ok {
			return fmt.Errorf("%s: say SOURCE:TARGET", f)
		}
		if err := packTree(w, source, target); err != nil {
			return err
		}
	}
	return w.Close()
}

func packTree(w *tar.Writer, source, target string) error {
	return filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(file); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(path.Join(target, filepath.ToSlash(below)), "/")
		if h.Name == "" {
			return nil // the root itself
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		return copyFile(w, file)
	})
}

func copyFile(to io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}
