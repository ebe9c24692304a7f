package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// Affinity gives calls that the DestinationRule's consistentHash takes for alike one hash, and clients without the cookie
// that decides one of their own.
type Affinity struct{}

// Request implements Filter.
func (Affinity) Request(_ context.Context, c *Call) error {
	p := &c.Plan.Hash
	switch p.By {
	case model.HashByNothing:
	case model.HashByHeader:
		if v := header(c.Request, p.Name); v != nil {
			c.Hash = lb.HashOf(v)
		}
	case model.HashBySource:
		c.Hash = HashOfSource(c.Client)
	case model.HashByQuery:
		if v, ok := queryParameter(c.Request.Path, p.Name); ok {
			c.Hash = lb.HashOf(v)
		}
	case model.HashByCookie:
		v, ok := cookie(&c.Request.Fields, p.Name)
		if !ok && p.Issue {
			v, ok = c.issue(), true
		}
		if ok {
			c.Hash = lb.HashOf(v)
		}
	}
	return nil
}

// header gives the first value of a header, or of the pseudo-headers that every request has, whatever its version; nil for
// none.
func header(req *httpx.Request, name string) []byte {
	switch name {
	case ":path":
		return req.Path
	case ":authority":
		return req.Authority
	case ":method":
		return req.Method
	}
	return req.Fields.Get(name)
}

// Response implements ResponseFilter.
func (Affinity) Response(c *Call) {
	if c.issues {
		c.Response.Fields.AddName("set-cookie", appendCookie(nil, &c.Plan.Hash, c.issued[:]))
	}
}

// HashOfSource gives the hash of calls that come from an address.
func HashOfSource(a netip.Addr) uint64 {
	raw := a.As16()
	return lb.HashOf(raw[:])
}

// issue makes up the value of a cookie. It is random, not made of addresses as Envoy's is: behind one connection there may
// be many users.
func (c *Call) issue() []byte {
	const digits = "0123456789abcdef"
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], rand.Uint64()) //nolint:gosec // it leads to an endpoint and opens nothing
	for i, b := range raw {
		c.issued[2*i], c.issued[2*i+1] = digits[b>>4], digits[b&15]
	}
	c.issues = true
	return c.issued[:]
}

// appendCookie appends the value of a Set-Cookie field, as Envoy writes it.
func appendCookie(dst []byte, p *model.HashPolicy, value []byte) []byte {
	dst = append(append(append(dst, p.Name...), '=', '"'), value...)
	dst = append(dst, '"')
	if p.TTL > 0 {
		dst = strconv.AppendInt(append(dst, "; Max-Age="...), int64(max(p.TTL/time.Second, 1)), 10)
	}
	if p.Path != "" {
		dst = append(append(dst, "; Path="...), p.Path...)
	}
	for i := range p.Attributes {
		a := &p.Attributes[i]
		dst = append(append(dst, "; "...), a.Name...)
		if a.Value != "" {
			dst = append(append(dst, '='), a.Value...)
		}
	}
	return append(dst, "; HttpOnly"...)
}

// cookie gives the value of a cookie of the request; HTTP/2 may have each in a field of its own (RFC 9113 §8.2.3).
func cookie(f *httpx.Fields, name string) (value []byte, ok bool) {
	for i := f.Next("cookie", 0); i >= 0; i = f.Next("cookie", i+1) {
		_, pairs := f.At(i)
		for len(pairs) > 0 {
			var pair []byte
			pair, pairs, _ = bytes.Cut(pairs, []byte{';'})
			key, v, _ := bytes.Cut(bytes.TrimLeft(pair, " \t"), []byte{'='})
			if string(key) == name {
				return bytes.Trim(v, ` "`), true
			}
		}
	}
	return nil, false
}

// queryParameter gives the first value of a parameter, as it stands in the path.
func queryParameter(path []byte, name string) (value []byte, ok bool) {
	_, query, _ := bytes.Cut(path, []byte{'?'})
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		key, v, _ := bytes.Cut(pair, []byte{'='})
		if string(key) == name {
			return v, true
		}
	}
	return nil, false
}
