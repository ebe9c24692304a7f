package route

import (
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// headerOps changes the headers of a request and of its response.
type headerOps struct{ request, response headerChange }

// headerChange is a model.HeaderChange, ready to be applied.
type headerChange struct {
	remove   []string
	set, add []headerValue
	dynamic  bool // some value depends on the call
}

// headerValue is a value, or what makes one.
type headerValue struct {
	name, value string
	template    []model.TemplatePart // nil for the value itself
}

// compileHeaderOps leaves out what belongs to the proxy: a rule that set Content-Length would change where a message
// ends. Translators warn the user.
func compileHeaderOps(ops model.HeaderOps) headerOps {
	return headerOps{request: allowedChange(ops.Request), response: allowedChange(ops.Response)}
}

func allowedChange(c model.HeaderChange) headerChange {
	var out headerChange
	out.set, out.add = out.allowedValues(c.Set), out.allowedValues(c.Add)
	for _, name := range c.Remove {
		if allowedName(name) {
			out.remove = append(out.remove, name)
		}
	}
	return out
}

// allowedValues also cuts the blanks around a value, which are no part of it (RFC 9110 §5.5) and which HTTP/2 refuses.
func (c *headerChange) allowedValues(in []model.HeaderValue) []headerValue {
	var out []headerValue
	for _, v := range in {
		if !allowedName(v.Name) {
			continue
		}
		parts, _ := model.ParseTemplate(v.Template) // a wrong one is the route's fault, by which nothing is applied
		c.dynamic = c.dynamic || parts != nil
		out = append(out, headerValue{name: v.Name, value: strings.Trim(v.Value, " \t"), template: parts})
	}
	return out
}

// allowedName also refuses Host and pseudo-headers: they are not among Fields, and rewrites change them.
func allowedName(name string) bool {
	return name != "" && name[0] != ':' && !httpx.EqualFold([]byte("host"), name) && !model.ReservedHeader(name)
}

// change removes first, then sets, then adds, as Envoy does. facts are what values may say of the call.
func (c *headerChange) change(f *httpx.Fields, facts *Facts) {
	for _, name := range c.remove {
		f.Del(name)
	}
	if c.dynamic {
		c.write(f, facts)
		return
	}
	for i := range c.set {
		f.Set(c.set[i].name, c.set[i].value)
	}
	for i := range c.add {
		f.AddString(c.add[i].name, c.add[i].value)
	}
}

// write makes all values before it writes the first: they say what was there before, as in Envoy. A value that is empty
// because there is nothing to say is not written.
func (c *headerChange) write(f *httpx.Fields, facts *Facts) {
	var room [8][]byte // more than that is rare, and allocated
	values := room[:0]
	for _, list := range [2][]headerValue{c.set, c.add} {
		for i := range list {
			values = append(values, facts.value(f, list[i].template))
		}
	}
	for i := range c.set {
		if v := &c.set[i]; v.template == nil {
			f.Set(v.name, v.value)
		} else if len(values[i]) > 0 {
			f.Del(v.name)
			f.AddName(v.name, values[i])
		}
	}
	for i := range c.add {
		if v, value := &c.add[i], values[len(c.set)+i]; v.template == nil {
			f.AddString(v.name, v.value)
		} else if len(value) > 0 {
			f.AddName(v.name, value)
		}
	}
}

// ApplyRequest turns a request into what is sent to b, which may be nil: header operations of the route, then those
// of the backend, so that the closer one wins, then the authority and the path. It must be called once per request. facts
// may be nil where no value depends on the call.
func (r *Route) ApplyRequest(req *httpx.Request, b *Backend, facts *Facts) {
	r.headers.request.change(&req.Fields, facts)
	own := &r.rewrite
	if b == nil {
		r.rewriteRequest(req, own, own)
		return
	}
	b.headers.request.change(&req.Fields, facts)
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
func (r *Route) ApplyResponse(resp *httpx.Response, b *Backend, facts *Facts) {
	r.headers.response.change(&resp.Fields, facts)
	if b != nil {
		b.headers.response.change(&resp.Fields, facts)
	}
}
