package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// asset is a file of the page.
type asset struct {
	packed    []byte
	mediaType string
	tag       string
	// forever files have a hash of their content in their name: it never changes.
	forever bool
}

// hashed is a name with a hash, as bundlers make them: app-4F2KQ7XA.js.
var hashed = regexp.MustCompile(`-[A-Z0-9]{8}\.[a-z0-9]+$`)

// index is the page itself.
const index = "index.html"

// readAssets reads the built page: files that are compressed, with ".gz" behind their names.
func readAssets(files fs.FS) (map[string]*asset, error) {
	all := map[string]*asset{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		plain, packed := strings.CutSuffix(name, ".gz")
		if err != nil || entry.IsDir() || !packed {
			return err
		}
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		all[plain] = &asset{
			packed: b, mediaType: mime.TypeByExtension(path.Ext(plain)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`,
			forever: hashed.MatchString(plain),
		}
		return nil
	})
	if err == nil && all[index] == nil {
		err = fmt.Errorf("%s.gz is not among the files of the page", index)
	}
	return all, err
}

// page serves the files of the page. Whatever has no dot in its last part is a view of the page, which reads the path itself.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" || !strings.Contains(path.Base(name), ".") {
		name = index
	}
	a := s.assets[name]
	if a == nil {
		fail(w, http.StatusNotFound, "the page has no file "+name)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("ETag", a.tag)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if a.forever {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	a.write(w, r)
}

func (a *asset) write(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(a.packed)
		return
	}
	plain, err := gzip.NewReader(bytes.NewReader(a.packed))
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	io.Copy(w, plain) //nolint:errcheck,gosec // the browser went away; the file is part of this program
}
