package h1

import (
	"bytes"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// parseRequest makes a request of the block that lies in r.Fields. scheme is the connection's.
func parseRequest(r *httpx.Request, h *head, lim limits, scheme []byte) error {
	end := r.Fields.Size() - 2
	line, next, err := cutLine(&r.Fields, 0, end)
	if err != nil {
		return err
	}
	target, err := parseRequestLine(r, line, lim.target)
	if err != nil {
		return err
	}
	if err := h.parse(&r.Fields, next, end, lim.fields); err != nil {
		return err
	}
	r.Scheme = scheme
	if err := setTarget(r, h, target); err != nil {
		return err
	}
	return frameRequest(r, h)
}

func parseRequestLine(r *httpx.Request, line []byte, maxTarget int) (target []byte, err error) {
	method, rest, ok1 := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 {
		return nil, badf("request line %q is not method, target and version with one space between them", clip(line))
	}
	if !isToken(method) {
		return nil, badf("method %q is not a token", clip(method))
	}
	if len(target) > maxTarget {
		return nil, &Error{statusURITooLong, "request target of " + itoa(len(target)) + " bytes, at most " + itoa(maxTarget) + " are taken"}
	}
	if !httpx.IsTarget(target) {
		return nil, badf("request target %q is empty or has a control character or fragment", clip(target))
	}
	r.Method = method
	r.Version, err = parseVersion(version)
	return target, err
}

func parseVersion(b []byte) (httpx.Version, error) {
	switch string(b) {
	case "HTTP/1.1":
		return httpx.HTTP11, nil
	case "HTTP/1.0":
		return httpx.HTTP10, nil
	case "HTTP/2.0":
		return 0, &Error{statusVersion, "an HTTP/2 preface on an HTTP/1.1 connection"}
	}
	if len(b) == len("HTTP/1.1") && bytes.HasPrefix(b, []byte("HTTP/")) {
		return 0, &Error{statusVersion, "version " + quote(b)}
	}
	return 0, badf("version %q", clip(b))
}

// setTarget reads the four forms of RFC 9112 §3.2.
func setTarget(r *httpx.Request, h *head, target []byte) error {
	switch {
	case h.hosts > 1:
		return bad("more than one Host field")
	case h.hosts == 0 && r.Version == httpx.HTTP11:
		return bad("no Host field")
	case !httpx.IsHost(h.host):
		return badf("Host %q is not a host and port", clip(h.host))
	}
	r.Authority = h.host
	switch {
	case string(r.Method) == "CONNECT":
		return setAuthorityForm(r, target)
	case target[0] == '/':
		r.Path = target
		return nil
	case string(target) == "*" && string(r.Method) == "OPTIONS":
		r.Path = target
		return nil
	}
	return setAbsoluteForm(r, target)
}

func setAuthorityForm(r *httpx.Request, target []byte) error {
	if !httpx.IsHostPort(target) {
		return badf("CONNECT target %q is not host:port", clip(target))
	}
	r.Authority = target
	return nil
}

// setAbsoluteForm takes the authority from the target: it outranks Host (RFC 9112 §3.2.2).
func setAbsoluteForm(r *httpx.Request, target []byte) error {
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || !httpx.EqualFold(scheme, "http") && !httpx.EqualFold(scheme, "https") {
		return badf("request target %q is neither a path nor an http URL", clip(target))
	}
	n := bytes.IndexAny(rest, "/?")
	if n < 0 {
		n = len(rest)
	}
	authority, path := rest[:n:n], rest[n:]
	if len(authority) == 0 || !httpx.IsHost(authority) {
		return badf("host %q in the request target is not a host and port", clip(authority))
	}
	r.Authority, r.Absolute = authority, scheme
	switch {
	case len(path) == 0 && string(r.Method) == "OPTIONS":
		r.Path = []byte("*") // RFC 9112 §3.2.4
	case len(path) == 0:
		r.Path = []byte("/")
	case path[0] == '?':
		r.Path = append([]byte("/"), path...)
	default:
		r.Path = path
	}
	return nil
}

// frameRequest settles the length of the body (RFC 9112 §6.3) and what else the connection's fields say.
func frameRequest(r *httpx.Request, h *head) error {
	switch {
	case h.chunked && r.Version == httpx.HTTP10:
		return bad("Transfer-Encoding in an HTTP/1.0 request")
	case h.chunked:
		r.ContentLength = -1
	case h.length > 0:
		r.ContentLength = h.length
	}
	if string(r.Method) == "CONNECT" {
		if r.ContentLength != 0 {
			return bad("CONNECT with a body")
		}
		return nil
	}
	if r.Version == httpx.HTTP11 {
		r.Upgrade = h.protocol()
		r.ExpectContinue = h.expectContinue && r.ContentLength != 0
	}
	return nil
}

// checkRequest refuses what would not come out as the one request it is meant to be.
func checkRequest(r *httpx.Request) error {
	connect := string(r.Method) == "CONNECT"
	switch {
	case !isToken(r.Method):
		return badf("method %q to send is not a token", clip(r.Method))
	case !httpx.IsHost(r.Authority) || connect && !httpx.IsHostPort(r.Authority):
		return badf("authority %q to send is not a host and port", clip(r.Authority))
	case !connect && len(r.Path) > 0 && !httpx.IsTarget(r.Path):
		return badf("path %q to send has a blank, control character or fragment", clip(r.Path))
	case !connect && len(r.Path) > 0 && r.Path[0] != '/' && (string(r.Path) != "*" || string(r.Method) != "OPTIONS"):
		return badf("path %q to send does not begin with /", clip(r.Path))
	case connect && r.ContentLength != 0:
		return bad("CONNECT to send has a body")
	case !httpx.IsText(r.Upgrade):
		return badf("upgrade %q to send has a control character", clip(r.Upgrade))
	}
	return checkFields(&r.Fields)
}

func checkFields(f *httpx.Fields) error {
	for i := range f.Len() {
		name, value := f.At(i)
		if !isToken(name) {
			return badf("field name %q to send is not a token", clip(name))
		}
		if !httpx.IsText(value) {
			return badf("value of field %s to send has a control character", clip(name))
		}
	}
	return nil
}

// putRequest writes a head that checkRequest accepted.
func putRequest(o *output, r *httpx.Request) {
	o.put(r.Method)
	o.putString(" ")
	switch {
	case string(r.Method) == "CONNECT":
		o.put(r.Authority)
	case r.Absolute != nil:
		o.put(r.Absolute)
		o.putString("://")
		o.put(r.Authority)
		if string(r.Path) != "*" { // RFC 9112 §3.2.4
			o.put(r.Path)
		}
	case len(r.Path) == 0:
		o.putString("/")
	default:
		o.put(r.Path)
	}
	o.putString(" HTTP/1.1\r\nHost: ")
	o.put(r.Authority)
	o.putString("\r\n")
	te := putFields(o, &r.Fields)
	switch {
	case r.ContentLength > 0:
		o.putString("Content-Length: ")
		o.putInt(r.ContentLength)
		o.putString("\r\n")
	case r.ContentLength < 0:
		o.putString("Transfer-Encoding: chunked\r\n")
	case wantsBody(r.Method):
		o.putString("Content-Length: 0\r\n")
	}
	if r.ExpectContinue {
		o.putString("Expect: 100-continue\r\n")
	}
	if r.Upgrade != nil {
		putUpgrade(o, r.Upgrade)
	}
	if te {
		o.putString("TE: trailers\r\nConnection: TE\r\n")
	}
	o.putString("\r\n")
}

// wantsBody reports whether a server may expect a length even where there is no body (RFC 9110 §8.6).
func wantsBody(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// putFields writes the fields that are not the codec's own and reports whether TE: trailers was among them.
func putFields(o *output, f *httpx.Fields) (te bool) {
	for i := range f.Len() {
		name, value := f.At(i)
		switch roleOf(name) {
		case roleTE:
			te = te || httpx.EqualFold(value, "trailers")
			continue
		case roleExpect:
			if httpx.EqualFold(value, "100-continue") {
				continue
			}
		case roleHost, roleContentLength, roleTransferEncoding, roleConnection, roleUpgrade, roleKeepAlive, roleHop:
			continue
		case roleOrdinary:
		}
		o.put(name)
		o.putString(": ")
		o.put(value)
		o.putString("\r\n")
	}
	return te
}

func putUpgrade(o *output, protocol []byte) {
	o.putString("Connection: Upgrade\r\nUpgrade: ")
	o.put(protocol)
	o.putString("\r\n")
}
