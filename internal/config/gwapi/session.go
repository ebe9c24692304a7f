package gwapi

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// maxSessionName is the longest name of a session, as the API server has it.
const maxSessionName = 128

// session reads sessionPersistence (GEP-1619).
func (t *route) session(field string, in *gatewayv1.SessionPersistence) *model.SessionPersistence {
	if in == nil {
		return nil
	}
	out := &model.SessionPersistence{Name: text(in.SessionName), Timeout: t.duration(field+".absoluteTimeout", in.AbsoluteTimeout)}
	if in.AbsoluteTimeout != nil && out.Timeout <= 0 {
		t.Reject(field+".absoluteTimeout", fmt.Sprintf("%q is no time for a session", *in.AbsoluteTimeout), "write a longer one, or leave it out")
	}
	if out.Name != "" && (!isToken(out.Name) || len(out.Name) > maxSessionName) {
		t.Reject(field+".sessionName", fmt.Sprintf("%q is not a name of a cookie or header", out.Name),
			fmt.Sprintf(`write letters, digits and "-", at most %d of them`, maxSessionName))
	}
	switch kind := gatewayv1.SessionPersistenceType(value(in.Type, gatewayv1.CookieBasedSessionPersistence)); kind {
	case gatewayv1.CookieBasedSessionPersistence:
		out.By = model.SessionByCookie
	case gatewayv1.HeaderBasedSessionPersistence:
		out.By = model.SessionByHeader
		out.Name = strings.ToLower(out.Name)
		if model.ReservedHeader(out.Name) {
			t.Reject(field+".sessionName", fmt.Sprintf("%q is the proxy's own header", out.Name), "choose another name")
		}
	default:
		t.Reject(field+".type", fmt.Sprintf("%q is not a type", kind), "write Cookie or Header")
	}
	if in.CookieConfig != nil {
		t.cookieConfig(field, in, out)
	}
	return out
}

func (t *route) cookieConfig(field string, in *gatewayv1.SessionPersistence, out *model.SessionPersistence) {
	if out.By == model.SessionByHeader {
		t.Reject(field+".cookieConfig", "only cookies have one", "remove it, or write type: Cookie")
	}
	switch kind := gatewayv1.CookieLifetimeType(value(in.CookieConfig.LifetimeType, gatewayv1.SessionCookieLifetimeType)); kind {
	case gatewayv1.SessionCookieLifetimeType:
	case gatewayv1.PermanentCookieLifetimeType:
		if out.Permanent = true; in.AbsoluteTimeout == nil {
			t.Reject(field+".absoluteTimeout", "a Permanent cookie needs one", "say how long it lasts")
		}
	default:
		t.Reject(field+".cookieConfig.lifetimeType", fmt.Sprintf("%q is not a type", kind), "write Session or Permanent")
	}
}
