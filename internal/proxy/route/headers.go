package route

import (
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// headerOps changes the headers of a request and of its response.
type headerOps struct{ request, response model.HeaderChange }

// compileHeaderOps leaves out what belongs to the proxy: a rule that set Content-Length would change where a message
// ends. Translators warn the user.
func compileHeaderOps(ops model.HeaderOps) headerOps {
	return headerOps{request: allowedChange(ops.Request), response: allowedChange(ops.Response)}
}

func allowedChange(c model.HeaderChange) model.HeaderChange {
	var out model.HeaderChange
	out.Set, out.Add = allowedValues(c.Set), allowedValues(c.Add)
	for _, name := range c.Remove {
		if allowedName(name) {
			out.Remove = append(out.Remove, name)
		}
	}
	return out
}

// allowedValues also cuts the blanks around a value, which are no part of it (RFC 9110 §5.5) and which HTTP/2 refuses.
func allowedValues(in []model.HeaderValue) []model.HeaderValue {
	var out []model.HeaderValue
	for _, v := range in {
		if allowedName(v.Name) {
			out = append(out, model.HeaderValue{Name: v.Name, Value: strings.Trim(v.Value, " \t")})
		}
	}
	return out
}

// allowedName also refuses Host and pseudo-headers: they are not among Fields, and rewrites change them.
func allowedName(name string) bool {
	return name != "" && name[0] != ':' && !httpx.EqualFold([]byte("host"), name) && !model.ReservedHeader(name)
}

// change removes first, then sets, then adds, as Envoy does.
func change(f *httpx.Fields, c *model.HeaderChange) {
	for _, name := range c.Remove {
		f.Del(name)
	}
	for i := range c.Set {
		f.Set(c.Set[i].Name, c.Set[i].Value)
	}
	for i := range c.Add {
		f.AddString(c.Add[i].Name, c.Add[i].Value)
	}
}

// ApplyRequest turns a request into what is sent to b, which may be nil: header operations of the route, then those
// of the backend, so that the closer one wins, then the authority and the path. It must be called once per request.
func (r *Route) ApplyRequest(req *httpx.Request, b *Backend) {
	change(&req.Fields, &r.headers.request)
	own := &r.rewrite
	if b == nil {
		r.rewriteRequest(req, own, own)
		return
	}
	change(&req.Fields, &b.headers.request)
	// The route's rewrite prevails, as in Envoy, where the backend's is applied first.
	authority, path := own, own
	if own.authority == nil {
		authority = &b.rewrite
	}
	if own.change == keepPath {
		path = &b.rewrite
	}
	r.rewriteRequest(req, authority, path)
}

// ApplyResponse does the response's share of the header operations, in the same order. b may be nil.
func (r *Route) ApplyResponse(resp *httpx.Response, b *Backend) {
	change(&resp.Fields, &r.headers.response)
	if b != nil {
		change(&resp.Fields, &b.headers.response)
	}
}
