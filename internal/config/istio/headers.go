package istio

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// headerRules reads what rules do to headers.
type headerRules struct{ *report }

// headers reads header operations into ops. Setting the host is a rewrite of the authority, as in Istio.
func (t headerRules) headers(field string, in *networking.Headers, ops *model.HeaderOps, rewrite **model.Rewrite) {
	if in == nil {
		return
	}
	var authority string
	ops.Request, authority = t.headerChange(field+".request", in.GetRequest())
	if authority != "" {
		t.setAuthority(field+".request", authority, rewrite)
	}
	if ops.Response, authority = t.headerChange(field+".response", in.GetResponse()); authority != "" {
		t.Reject(field+".response", "a response has no host header", "set it under request")
	}
}

func (t headerRules) setAuthority(field, authority string, rewrite **model.Rewrite) {
	switch r := *rewrite; {
	case r == nil:
		*rewrite = &model.Rewrite{Authority: authority}
	case r.Authority != "":
		t.Reject(field, fmt.Sprintf("the authority is already rewritten to %q", r.Authority), "keep one of them")
	default:
		r.Authority = authority
	}
}

// headerChange reads one direction; a new value for the host comes back apart.
func (t headerRules) headerChange(field string, in *networking.Headers_HeaderOperations) (model.HeaderChange, string) {
	set, setAuthority := t.headerValues(field+".set", in.GetSet())
	add, addAuthority := t.headerValues(field+".add", in.GetAdd())
	out := model.HeaderChange{Set: set, Add: add}
	for i, name := range in.GetRemove() {
		at := fmt.Sprintf("%s.remove[%d]", field, i)
		switch {
		case isAuthority(name):
			t.Reject(at, fmt.Sprintf("%q cannot be removed", name), "remove the entry: every request has one, no response does")
		case t.headerName(at, name):
			out.Remove = append(out.Remove, name)
		}
	}
	if setAuthority != "" && addAuthority != "" {
		t.Reject(field, "the host is both set and added", "keep set")
	}
	return out, setAuthority + addAuthority
}

func (t headerRules) headerValues(field string, in map[string]string) (out []model.HeaderValue, authority string) {
	for _, name := range sortedKeys(in) {
		at := field + "[" + name + "]"
		value, template := t.headerValue(at, in[name])
		switch {
		case isAuthority(name) && template != "":
			t.Reject(at, fmt.Sprintf("the host cannot depend on the call, as by %q", template), "write a host")
		case isAuthority(name):
			t.authority(at, value)
			authority = value
		case t.headerName(at, name):
			out = append(out, model.HeaderValue{Name: name, Value: value, Template: template})
		}
	}
	return out, authority
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// headerName reports whether a rule can change the header, after saying why not.
func (t headerRules) headerName(field, name string) bool {
	switch {
	case !isToken(name):
		t.Reject(field, fmt.Sprintf("%q is not a header name", name), `header names consist of letters, digits and "-"`)
	case model.ReservedHeader(name):
		t.Warn(field, fmt.Sprintf("%q is the proxy's own header: the operation has no effect", name), "remove it")
	default:
		return true
	}
	return false
}

// headerValue checks a value. One without operators is undone of Envoy's escape "%%".
func (t headerRules) headerValue(field, value string) (plain, template string) {
	if i := strings.IndexFunc(value, isControl); i >= 0 {
		t.Reject(field, fmt.Sprintf("a header value has no control characters, this one has %q", value[i]), "remove it")
		return value, ""
	}
	parts, err := model.ParseTemplate(value)
	switch {
	case err != nil && err.Unknown != "":
		t.Reject(field, err.Why, fmt.Sprintf("the operators are %s; write %q for a literal %q", strings.Join(model.Operators(), ", "), "%%", "%"))
	case err != nil:
		t.Reject(field, fmt.Sprintf("%s in %q", err.Why, value), `write "%%" for a literal "%"`)
	case len(parts) == 0:
	case len(parts) == 1 && parts[0].Op == model.OpText:
		return parts[0].Text, ""
	default:
		return "", value
	}
	return value, ""
}

// isControl reports whether c may not stand in a header value (RFC 9110 §5.5).
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// authority refuses what cannot be sent as the host of a request.
func (t headerRules) authority(field, value string) {
	if !model.SendableAuthority(value) {
		t.Reject(field, fmt.Sprintf("%q cannot be the host of a request", value), "write a host, or host:port")
	}
}
