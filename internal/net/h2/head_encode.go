package h2

import (
	"strconv"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// plainSuccess marks a 2xx that answers an extended CONNECT without agreeing to the upgrade, as an HTTP/1 server may
// that ignores Upgrade. RFC 8441 has no way to say it, so it is said only to peers that sent our metadata.
const plainSuccess = "fairlead-upgrade-ignored"

// The indices of pseudo-header fields in the static table.
const (
	indexAuthority  = 1
	indexGet        = 2
	indexPost       = 3
	indexPath       = 4
	indexSchemeHTTP = 6
	indexHTTPS      = 7
	indexStatus     = 8
	indexLength     = 28
	indexExpect     = 35
)

// request appends the header block of a request.
func (e *encoder) request(dst []byte, r *httpx.Request) []byte {
	dst = e.begin(dst)
	if isConnect(r) {
		dst = e.named(dst, indexGet, staticTable[indexGet].name, r.Method)
		dst = e.named(dst, indexAuthority, staticTable[indexAuthority].name, r.Authority)
		return e.fields(dst, &r.Fields, nil)
	}
	dst = e.method(dst, r)
	if string(r.Scheme) == "https" {
		dst = e.indexed(dst, indexHTTPS)
	} else {
		dst = e.indexed(dst, indexSchemeHTTP)
	}
	if len(r.Authority) > 0 {
		dst = e.named(dst, indexAuthority, staticTable[indexAuthority].name, r.Authority)
	}
	if len(r.Path) == 0 || string(r.Path) == "/" {
		dst = e.indexed(dst, indexPath)
	} else {
		dst = e.named(dst, indexPath, staticTable[indexPath].name, r.Path)
	}
	if upgrades(r) {
		return e.fields(dst, &r.Fields, nil)
	}
	if r.ContentLength > 0 {
		dst = e.length(dst, r.ContentLength)
	}
	if !r.ExpectContinue {
		return e.fields(dst, &r.Fields, nil)
	}
	dst = e.named(dst, indexExpect, staticTable[indexExpect].name, []byte("100-continue"))
	return e.fields(dst, &r.Fields, staticTable[indexExpect].name)
}

func (e *encoder) method(dst []byte, r *httpx.Request) []byte {
	name := staticTable[indexGet].name
	switch {
	case upgrades(r):
		dst = e.named(dst, indexGet, name, []byte("CONNECT"))
		return e.named(dst, 0, []byte(":protocol"), r.Upgrade)
	case string(r.Method) == "GET":
		return e.indexed(dst, indexGet)
	case string(r.Method) == "POST":
		return e.indexed(dst, indexPost)
	}
	return e.named(dst, indexGet, name, r.Method)
}

// isConnect tells whether r opens a tunnel (RFC 9113 §8.5).
func isConnect(r *httpx.Request) bool { return string(r.Method) == "CONNECT" && r.Upgrade == nil }

// upgrades tells whether r asks for another protocol in a way HTTP/2 can carry (RFC 8441): a GET. On any other method
// the wish is dropped, which RFC 9110 §7.8 lets every recipient do.
func upgrades(r *httpx.Request) bool { return r.Upgrade != nil && string(r.Method) == "GET" }

// response appends the header block of a response whose status on the wire is status. A negative length is not sent.
func (e *encoder) response(dst []byte, status int, r *httpx.Response, length int64) []byte {
	dst = e.begin(dst)
	dst = e.status(dst, status)
	if length >= 0 {
		dst = e.length(dst, length)
	}
	return e.fields(dst, &r.Fields, nil)
}

func (e *encoder) status(dst []byte, status int) []byte {
	switch status {
	case 200:
		return e.indexed(dst, indexStatus)
	case 204:
		return e.indexed(dst, indexStatus+1)
	case 304:
		return e.indexed(dst, indexStatus+3)
	case 404:
		return e.indexed(dst, indexStatus+5)
	}
	var digits [3]byte
	return e.named(dst, indexStatus, staticTable[indexStatus].name, strconv.AppendInt(digits[:0], int64(status), 10))
}

func (e *encoder) length(dst []byte, n int64) []byte {
	var digits [20]byte
	return e.named(dst, indexLength, staticTable[indexLength].name, strconv.AppendInt(digits[:0], n, 10))
}

// trailers appends the header block of trailers.
func (e *encoder) trailers(dst []byte, f *httpx.Fields) []byte {
	return e.fields(e.begin(dst), f, nil)
}

// fields appends the regular fields except those of HTTP/1 connections and the one called skip.
func (e *encoder) fields(dst []byte, f *httpx.Fields, skip []byte) []byte {
	for i := range f.Len() {
		name, value := f.At(i)
		if connectionField(name, value) || len(skip) == len(name) && httpx.EqualFold(name, string(skip)) {
			continue
		}
		dst = e.field(dst, name, value)
	}
	return dst
}

// connectionField tells whether a field must not be sent, RFC 9113 §8.2.2: it is the business of one HTTP/1
// connection, or codecs carry it outside the fields.
func connectionField(name, value []byte) bool {
	switch len(name) {
	case 0:
		return true
	case 2:
		return httpx.EqualFold(name, "te") && !httpx.EqualFold(value, "trailers")
	case 4:
		return httpx.EqualFold(name, "host")
	case 7:
		return httpx.EqualFold(name, "upgrade")
	case 10:
		return httpx.EqualFold(name, "connection") || httpx.EqualFold(name, "keep-alive")
	case 14:
		return httpx.EqualFold(name, "content-length")
	case 16:
		return httpx.EqualFold(name, "proxy-connection")
	case 17:
		return httpx.EqualFold(name, "transfer-encoding")
	}
	return name[0] == ':'
}

// listSize is what the fields count against the peer's limit, RFC 9113 §10.5.1.
func listSize(f *httpx.Fields) int { return f.Size() + entryOverhead*f.Len() }
