package core

import (
	"fmt"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// Istio's labels for sessions: the name of a cookie, with a path behind a colon where it has another than "/", or of a
// header.
const (
	cookieLabel = "istio.io/persistent-session"
	headerLabel = "istio.io/persistent-session-header"
)

// tokenForm is what names of cookies and headers consist of (RFC 9110 §5.6.2).
var tokenForm = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// cookiePathForm is a path that fits into a cookie (RFC 6265 §4.1.1).
var cookiePathForm = regexp.MustCompile(`^/[^;\x00- \x7f-\x{10ffff}]*$`)

// session reads the labels. Of both the cookie's counts, as with Istio.
func session(r *model.Report, labels map[string]string) *model.SessionPersistence {
	if value := labels[cookieLabel]; value != "" {
		name, path, cut := strings.Cut(value, ":")
		if !cut {
			path = "/"
		}
		if tokenForm.MatchString(name) && cookiePathForm.MatchString(path) {
			return &model.SessionPersistence{By: model.SessionByCookie, Name: name, Path: path}
		}
		noSession(r, cookieLabel, value, "write the name of a cookie")
	}
	value := labels[headerLabel]
	if value == "" {
		return nil
	}
	if name := strings.ToLower(value); tokenForm.MatchString(name) && !model.ReservedHeader(name) {
		return &model.SessionPersistence{By: model.SessionByHeader, Name: name}
	}
	noSession(r, headerLabel, value, "write the name of a header")
	return nil
}

func noSession(r *model.Report, label, value, fix string) {
	r.Warn("metadata.labels["+label+"]", fmt.Sprintf("%#q cannot be the name of a session: none is kept by it", value), fix)
}
