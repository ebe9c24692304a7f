package model

import (
	"strconv"
	"strings"
)

// What a rule writes into a message must be what a message can hold (RFC 9110 §5, RFC 3986 §3). Each Fault says what is
// wrong in one line that names the part and the value, "" where nothing is. Translators refuse such a rule; a sidecar
// that is given one all the same answers 500 with the line.

// Fault looks at a header that is set or added.
func (h HeaderValue) Fault() string {
	if why := HeaderNameFault(h.Name); why != "" {
		return why
	}
	value := h.Value + h.Template
	if i := strings.IndexFunc(value, isControl); i >= 0 {
		return "value of header " + strconv.Quote(h.Name) + " has the control character " + strconv.QuoteRune(rune(value[i]))
	}
	if _, err := ParseTemplate(h.Template); err != nil {
		return "value of header " + strconv.Quote(h.Name) + ": " + err.Why
	}
	return ""
}

// HeaderNameFault looks at the name of a header.
func HeaderNameFault(name string) string {
	const others = "!#$%&'*+-.^_`|~" // RFC 9110 §5.6.2
	if name == "" || strings.IndexFunc(name, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune(others, r) }) >= 0 {
		return "header name " + strconv.Quote(name) + " is empty or has a character that names cannot have"
	}
	return ""
}

// Fault looks at everything that is changed.
func (o *HeaderOps) Fault() string {
	for _, c := range []*HeaderChange{&o.Request, &o.Response} {
		for _, list := range [][]HeaderValue{c.Set, c.Add} {
			for _, h := range list {
				if why := h.Fault(); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

// Fault looks at both parts of a rewrite; r may be nil.
func (r *Rewrite) Fault() string {
	switch {
	case r == nil:
		return ""
	case r.Authority != "" && authorityFault(r.Authority) != "":
		return "rewritten " + authorityFault(r.Authority)
	case r.HasPath:
		return pathFault(r.Path)
	}
	return targetFault(r.Substitution)
}

// Fault looks at the parts of the Location; r may be nil.
func (r *Redirect) Fault() string {
	switch {
	case r == nil:
		return ""
	case r.Authority != "" && authorityFault(r.Authority) != "":
		return "redirect's " + authorityFault(r.Authority)
	case r.HasPath && r.Path != "":
		return locationFault(r.Path)
	}
	return ""
}

func authorityFault(s string) string {
	if !SendableAuthority(s) {
		return "authority " + strconv.Quote(s) + " is not a host with or without a port"
	}
	return ""
}

// pathFault looks at what a path or its beginning is replaced by.
func pathFault(s string) string {
	if s != "" && s[0] != '/' && s != "*" {
		return "path " + strconv.Quote(s) + " does not begin with /"
	}
	return targetFault(s)
}

func targetFault(s string) string {
	if strings.Contains(s, "#") {
		return "path " + strconv.Quote(s) + " has a fragment (#), which is not sent"
	}
	return locationFault(s)
}

func locationFault(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || isControl(r) }) >= 0 {
		return "path " + strconv.Quote(s) + " has a blank or a control character; a blank is written %20"
	}
	return ""
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// isControl leaves out the tab, which field values may hold.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
