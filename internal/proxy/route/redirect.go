package route

import (
	"bytes"
	"strconv"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// redirect answers with a Location.
type redirect struct {
	*model.Redirect
	path pathRewrite
}

// Local answers a request where the route says so without calling an endpoint: a redirect or a direct response, whose
// body is LocalBody. It reports false where the route has backends. port is the one that was called.
func (r *Route) Local(req *httpx.Request, resp *httpx.Response, port uint16, facts *Facts) bool {
	switch {
	case r.redirect != nil:
		resp.Reset()
		resp.Status = r.redirect.Code
		f := &resp.Fields
		f.AddName("location", f.Keep(r.AppendLocation(f.Scratch(0), req, port)))
	case r.Plan.Direct != nil:
		resp.Reset()
		resp.Status = r.Plan.Direct.Status
		resp.ContentLength = int64(len(r.Plan.Direct.Body))
		if len(r.Plan.Direct.Body) > 0 {
			resp.Fields.AddString("content-type", "text/plain")
		}
	default:
		return false
	}
	if facts != nil {
		facts.Response = resp
	}
	r.headers.response.change(&resp.Fields, facts)
	return true
}

// LocalBody is the body of a direct response, nil for a redirect.
func (r *Route) LocalBody() []byte {
	if r.redirect != nil || r.Plan.Direct == nil {
		return nil
	}
	return r.Plan.Direct.Body
}

// AppendLocation appends the URL that a redirect sends the client to; the route must have one. What the redirect does
// not say is taken from the request; port is the one that was called.
func (r *Route) AppendLocation(dst []byte, req *httpx.Request, port uint16) []byte {
	d := r.redirect
	scheme := schemeOf(req)
	if d.Scheme != "" {
		dst = append(dst, d.Scheme...)
	} else {
		dst = append(dst, scheme...)
	}
	dst = append(dst, "://"...)
	dst = d.appendAuthority(dst, req.Authority, string(scheme) == "https", port)
	if d.path.change == replaceWhole && bytes.IndexByte(d.path.with, '?') >= 0 {
		return append(dst, d.path.with...) // a query of its own replaces the request's
	}
	return r.appendPath(dst, &d.path, req.Path)
}

// appendAuthority appends host and port. secure says how the request came.
func (d *redirect) appendAuthority(dst, requested []byte, secure bool, called uint16) []byte { //nolint:revive // a fact, not a switch
	host, requestPort := splitAuthority(requested)
	standard := uint16(80)
	if d.Scheme == "https" || d.Scheme == "" && secure {
		standard = 443
	}
	port := d.Port
	always := port == 0 && d.PortMode == model.PortFromRequestAlways
	if always || port == 0 && d.PortMode == model.PortFromRequest {
		port = called
	}
	if d.Authority != "" {
		dst = append(dst, d.Authority...)
	} else {
		dst = append(dst, host...)
	}
	switch {
	case port != 0 && (always || port != standard):
		return strconv.AppendUint(append(dst, ':'), uint64(port), 10)
	case port != 0 || d.PortMode != model.PortKeep || d.Authority != "" || d.leaves(requestPort, secure):
		return dst
	}
	return append(dst, requestPort...)
}

// leaves reports whether the request's port goes because it is the standard one of a scheme that changes.
func (d *redirect) leaves(requestPort []byte, secure bool) bool { //nolint:revive // a fact, not a switch
	if secure {
		return d.Scheme == "http" && string(requestPort) == ":443"
	}
	return d.Scheme == "https" && string(requestPort) == ":80"
}

// splitAuthority cuts "host:port" before the colon; the colons inside brackets belong to an IPv6 address.
func splitAuthority(authority []byte) (host, port []byte) {
	i := bytes.LastIndexByte(authority, ':')
	if i < 0 || i < bytes.IndexByte(authority, ']') {
		return authority, nil
	}
	return authority[:i], authority[i:]
}
