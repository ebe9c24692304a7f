package gwapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// crossOrigin reads the filter CORS.
type crossOrigin struct{ *route }

// defaultMaxAge is what an API server writes into the field, and what a file without it means.
const defaultMaxAge = 5

func (t crossOrigin) cors(field string, in *gatewayv1.HTTPCORSFilter) *model.CORS {
	out := &model.CORS{
		Credentials: in.AllowCredentials != nil && *in.AllowCredentials,
		MaxAge:      time.Duration(in.MaxAge) * time.Second, Ignore: true,
		Headers: t.allowedHeaders(field+".allowHeaders", in.AllowHeaders),
		Expose:  t.allowedHeaders(field+".exposeHeaders", in.ExposeHeaders),
	}
	for i, o := range in.AllowOrigins {
		at := fmt.Sprintf("%s.allowOrigins[%d]", field, i)
		out.Origins = append(out.Origins, t.origin(at, string(o))...)
		if o == "*" && len(in.AllowOrigins) > 1 {
			t.Reject(at, `"*" beside others`, `"*" alone is for all origins`)
		}
	}
	if len(in.AllowOrigins) == 0 {
		t.Warn(field+".allowOrigins", "none: no page of another origin may read an answer", "list the origins")
	}
	out.Methods = t.allowedMethods(field+".allowMethods", in.AllowMethods)
	if out.Expose == "*" && out.Credentials {
		t.Warn(field+".exposeHeaders", `browsers do not take "*" for all headers where allowCredentials is set: it is left out`, "list the headers")
		out.Expose = ""
	}
	switch {
	case in.MaxAge < 0:
		t.Reject(field+".maxAge", fmt.Sprintf("%d is negative", in.MaxAge), "write how many seconds a browser may remember the answer")
	case in.MaxAge == 0:
		out.MaxAge = defaultMaxAge * time.Second
	}
	return out
}

func (t crossOrigin) allowedMethods(field string, in []gatewayv1.HTTPMethodWithWildcard) string {
	known := []gatewayv1.HTTPMethodWithWildcard{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"}
	names := make([]string, 0, len(in))
	for i, m := range in {
		switch at := fmt.Sprintf("%s[%d]", field, i); {
		case !slices.Contains(known, m):
			t.Reject(at, fmt.Sprintf("%q is not a method", m), `such as "GET"`)
		case m == "*" && len(in) > 1:
			t.Reject(at, `"*" beside others`, `"*" alone is for all methods`)
		}
		names = append(names, string(m))
	}
	return strings.Join(names, ",")
}

func (t crossOrigin) allowedHeaders(field string, in []gatewayv1.HTTPHeaderName) string {
	names := make([]string, 0, len(in))
	for i, h := range in {
		switch at := fmt.Sprintf("%s[%d]", field, i); {
		case h != "*" && !isToken(string(h)):
			t.Reject(at, fmt.Sprintf("%q is not a header name", h), "")
		case h == "*" && len(in) > 1:
			t.Reject(at, `"*" beside others`, `"*" alone is for all headers`)
		}
		names = append(names, string(h))
	}
	return strings.Join(names, ",")
}

// originForm is the API's own pattern for what is not "*".
var originForm = regexp.MustCompile(`^(https?)://(\*|(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+)(?::(\d{1,5}))?$`)

// origin turns an origin into matches. Browsers leave a scheme's own port out of it; others may write it.
func (t crossOrigin) origin(field, written string) []model.StringMatch {
	if written == "*" {
		return []model.StringMatch{{Kind: model.Exact, Value: "*"}}
	}
	parts := originForm.FindStringSubmatch(written)
	if parts == nil {
		t.Reject(field, fmt.Sprintf("%q is not an origin", written), `write "*", or scheme and host such as "https://app.example.com", "https://*.example.com:8443"`)
		return nil
	}
	scheme, host, port := parts[1], strings.ToLower(parts[2]), parts[3]
	standard := map[string]string{"http": "80", "https": "443"}[scheme]
	start := scheme + "://" + host
	rest, wild := strings.CutPrefix(host, "*")
	switch {
	case wild:
		end := ":" + port
		if port == "" || port == standard {
			end = "(:" + standard + ")?"
		}
		label := `[^/:]+`
		if rest == "" {
			label = `([^/:]+|\[[^/\]]+\])`
		}
		return []model.StringMatch{{Kind: model.Regex, Value: scheme + "://" + label + regexp.QuoteMeta(rest) + end}}
	case port == "" || port == standard:
		return []model.StringMatch{{Kind: model.Exact, Value: start}, {Kind: model.Exact, Value: start + ":" + standard}}
	}
	return []model.StringMatch{{Kind: model.Exact, Value: start + ":" + port}}
}
