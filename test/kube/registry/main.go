// Command registry answers as a container registry that has the images of files, for pods that are always to pull theirs, as those of
// the tag "latest" are:
//
//	registry -listen 127.0.0.1:5000 library/busybox=busybox.tar ...
//
// A repository has one image, whatever the tag. It reads only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "`ADDRESS` to listen at")
	flag.Parse()
	if err := run(*listen, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(listen string, args []string) error {
	images := make(map[string]v1.Image)
	for _, arg := range args {
		repository, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s: write REPOSITORY=FILE", arg)
		}
		image, err := tarball.ImageFromPath(path, nil)
		if err != nil {
			return err
		}
		images[repository] = image
	}
	s := &http.Server{Addr: listen, Handler: handler(images), ReadHeaderTimeout: 10 * time.Second}
	return s.ListenAndServe()
}

func handler(images map[string]v1.Image) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v2/")
		if path == "" {
			return
		}
		for repository, image := range images {
			rest, ok := strings.CutPrefix(path, repository+"/")
			if !ok {
				continue
			}
			kind, what, _ := strings.Cut(rest, "/")
			if err := answer(w, image, kind, what); err == nil {
				return
			}
		}
		http.NotFound(w, r)
	})
}

var errNone = errors.New("there is no such thing")

// answer sends a manifest, or a part of the image.
func answer(w http.ResponseWriter, image v1.Image, kind, what string) error {
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if kind == "manifests" && (!strings.Contains(what, ":") || what == digest.String()) {
		media, err := image.MediaType()
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", string(media))
		w.Header().Set("Docker-Content-Digest", digest.String())
		_, err = w.Write(manifest)
		return err
	}
	if kind != "blobs" {
		return errNone
	}
	want, err := v1.NewHash(what)
	if err != nil {
		return err
	}
	if config, err := image.ConfigName(); err == nil && config == want {
		text, err := image.RawConfigFile()
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	layer, err := image.LayerByDigest(want)
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}
