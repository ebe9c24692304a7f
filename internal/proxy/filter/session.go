package filter

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/session"
)

// Session keeps the calls of a client together: it reads which endpoint a request belongs to from the token that the client
// sends, and gives the client a token where it has none, or another endpoint has answered.
type Session struct{}

// Request implements Filter.
func (Session) Request(_ context.Context, c *Call) error {
	s := c.Route.Plan.Session
	if s == nil || c.Seal == nil { // nothing is kept, or the keys have not come yet
		return nil
	}
	var text []byte
	switch s.By {
	case model.SessionByNothing:
		return nil
	case model.SessionByHeader:
		text = c.Request.Fields.Get(s.Name)
	case model.SessionByCookie:
		text, _ = cookie(&c.Request.Fields, s.Name)
		c.path = cookiePathOf(s.Paths, c.Request.Path)
	}
	if text == nil {
		return nil
	}
	t, newest, ok := c.Seal.Open(text, s.Scope)
	if !ok || s.Timeout > 0 && time.Since(t.Issued) >= s.Timeout {
		return nil
	}
	c.Session, c.reseal = t, !newest
	c.Pin = lb.Pin{Addr: t.Addr, Pod: t.Pod}
	return nil
}

// Response implements ResponseFilter.
func (Session) Response(c *Call) {
	if c.Seal == nil || c.Endpoint == nil {
		return
	}
	s := c.Route.Plan.Session
	if s == nil || s.By == model.SessionByNothing {
		return
	}
	pin := lb.PinOf(c.Endpoint)
	t := session.Token{Issued: time.Now(), Backend: BackendHash(c.Plan), Addr: pin.Addr, Pod: pin.Pod}
	if t.Backend == c.Session.Backend && pin == (lb.Pin{Addr: c.Session.Addr, Pod: c.Session.Pod}) {
		if !c.reseal {
			return
		}
		t.Issued = c.Session.Issued
	}
	if s.By == model.SessionByHeader {
		c.Response.Fields.Del(s.Name)
		c.Response.Fields.AddName(s.Name, c.Seal.Append(nil, s.Scope, t))
		return
	}
	c.Response.Fields.AddName("set-cookie", c.appendSession(nil, s, t))
}

// appendSession appends the value of a Set-Cookie field. It is not Secure: apps call the mesh without TLS, and would not
// send it back.
func (c *Call) appendSession(dst []byte, s *plan.Session, t session.Token) []byte {
	dst = append(append(dst, s.Name...), '=')
	dst = c.Seal.Append(dst, s.Scope, t)
	if s.Permanent {
		left := max(s.Timeout-time.Since(t.Issued), time.Second)
		dst = strconv.AppendInt(append(dst, "; Max-Age="...), int64(left.Round(time.Second)/time.Second), 10)
	}
	return append(append(append(dst, "; Path="...), c.path...), "; HttpOnly; SameSite=Strict"...)
}

// BackendHash tells the backends of a route apart in tokens.
func BackendHash(b *plan.Backend) uint64 { return lb.HashOf([]byte(b.Name)) }

// cookiePathOf gives the longest of paths that the path of a request is in (RFC 6265 §5.1.4), "/" where it is in none.
func cookiePathOf(paths []string, request []byte) string {
	request, _, _ = bytes.Cut(request, []byte{'?'})
	best := "/"
	for _, p := range paths {
		if rest, in := bytes.CutPrefix(request, []byte(p)); in && len(p) > len(best) && (len(rest) == 0 || rest[0] == '/' || strings.HasSuffix(p, "/")) {
			best = p
		}
	}
	return best
}
