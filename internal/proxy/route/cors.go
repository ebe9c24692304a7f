package route

import (
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// CORS is a route's rule for pages of other origins, ready to be asked.
type CORS struct {
	*model.CORS
	origins []matcher
	maxAge  string
}

// CORS gives the rule, nil where there is none.
func (r *Route) CORS() *CORS { return r.cors }

func compileCORS(in *model.CORS) (*CORS, error) {
	if in == nil {
		return nil, nil //nolint:nilnil // a route without a rule is no error
	}
	out := &CORS{CORS: in}
	for _, o := range in.Origins {
		m, err := compileMatcher(o)
		if err != nil {
			return nil, err
		}
		out.origins = append(out.origins, m)
	}
	if in.MaxAge > 0 {
		out.maxAge = strconv.FormatInt(int64(in.MaxAge/time.Second), 10)
	}
	return out, nil
}

// anyOrigin is what Envoy asks of each match before it asks of the origin.
//
//nolint:gochecknoglobals // a constant that is bytes
var anyOrigin = []byte("*")

// Origin gives the origin of the page that makes a request, nil where no page of another one does, and whether that may
// read the answer.
func (p *CORS) Origin(req *httpx.Request) (origin []byte, allowed bool) {
	origin, _ = joined(&req.Fields, "origin")
	if len(origin) == 0 {
		return nil, false
	}
	for i := range p.origins {
		if p.origins[i].match(anyOrigin) || p.origins[i].match(origin) {
			return origin, true
		}
	}
	return origin, false
}

// IsPreflight reports whether a request with an origin asks what the page may send.
func IsPreflight(req *httpx.Request) bool {
	return string(req.Method) == "OPTIONS" && len(req.Fields.Get("access-control-request-method")) > 0
}

// Preflight makes resp the answer to a preflight; origin is nil for one that may not read it.
func (p *CORS) Preflight(req *httpx.Request, resp *httpx.Response, origin []byte) {
	resp.Reset()
	resp.Status = 200
	if origin == nil {
		return
	}
	f := &resp.Fields
	f.AddName("access-control-allow-origin", origin)
	if p.Credentials {
		f.AddString("access-control-allow-credentials", "true")
	}
	permit(f, "access-control-allow-methods", p.Methods, req.Fields.Get("access-control-request-method"))
	asked, _ := joined(&req.Fields, "access-control-request-headers")
	permit(f, "access-control-allow-headers", p.Headers, asked)
	if p.Expose != "" {
		f.AddString("access-control-expose-headers", p.Expose)
	}
	if p.maxAge != "" {
		f.AddString("access-control-max-age", p.maxAge)
	}
}

// permit says which methods or headers a page may send.
func permit(f *httpx.Fields, name, allowed string, asked []byte) {
	switch allowed {
	case "":
	case "*":
		if len(asked) > 0 {
			f.AddName(name, asked)
		}
	default:
		f.AddString(name, allowed)
	}
}

// Permit has the page of an origin read an answer, whatever the app says of it.
func (p *CORS) Permit(resp *httpx.Response, origin []byte) {
	f := &resp.Fields
	f.Del("access-control-allow-origin")
	f.AddName("access-control-allow-origin", origin)
	if p.Credentials {
		f.Set("access-control-allow-credentials", "true")
	}
	if p.Expose != "" {
		f.Set("access-control-expose-headers", p.Expose)
	}
}
