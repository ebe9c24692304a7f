//go:build envoy

package lab_test

import (
	"maps"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

const corsFilter = "envoy.filters.http.cors"

// crossOrigin gives a route with a policy as Istio writes it for Envoy (pilot/pkg/networking/core/route, TranslateCORSPolicy).
func crossOrigin(to string, origins envoy.List, more envoy.Tree) envoy.List {
	policy := envoy.Tree{
		"allow_origin_string_match": origins,
		"filter_enabled":            envoy.Tree{"default_value": envoy.Tree{"numerator": 100}},
	}
	maps.Copy(policy, more)
	return envoy.List{routed(to, envoy.Tree{"typed_per_filter_config": envoy.Tree{corsFilter: envoy.Typed(corsFilter, "CorsPolicy", policy)}})}
}

func exactly(text string) envoy.Tree { return envoy.Tree{"exact": text} }

// TestEnvoyCORS asks a sidecar and an Envoy the same about pages of other origins.
func TestEnvoyCORS(t *testing.T) {
	t.Parallel()
	const app, evil = "Origin: https://app.example.com", "Origin: https://evil.example.com"
	preflight := func(origin string, more ...string) []string {
		return append([]string{origin, "Access-Control-Request-Method: PUT"}, more...)
	}
	questions := []asked{
		{line: "GET /"},
		{line: "GET /", headers: []string{app}},
		{line: "GET /", headers: []string{evil}},
		{line: "HEAD /", headers: []string{app}},
		{line: "POST /", headers: []string{app, "X-Says: access-control-allow-origin: *"}},
		{line: "POST /", headers: []string{evil, "X-Says: access-control-allow-origin: *"}},
		{line: "GET /", headers: []string{app, "X-Says: access-control-expose-headers: x-app", "X-Says: access-control-allow-credentials: false"}},
		{line: "GET /", headers: []string{app, app}},
		{line: "GET /", headers: []string{"Origin: null"}},
		{line: "GET /", headers: []string{"Origin: "}},
		{line: "GET /", headers: []string{"Origin: HTTPS://APP.EXAMPLE.COM"}},
		{line: "GET /", headers: []string{"Origin: https://app.example.com:443"}},
		{line: "OPTIONS /"},
		{line: "OPTIONS /", headers: []string{app}},
		{line: "OPTIONS /", headers: preflight(app)},
		{line: "OPTIONS /", headers: preflight(evil)},
		{line: "OPTIONS /", headers: preflight(app, "Access-Control-Request-Headers: x-a, x-z")},
		{line: "OPTIONS /", headers: []string{app, "Access-Control-Request-Method: "}},
		{line: "OPTIONS /", headers: []string{"Access-Control-Request-Method: PUT"}},
		{line: "GET /", headers: preflight(app)},
		{line: "OPTIONS /", headers: preflight("Origin: null")},
		{line: "OPTIONS /", headers: preflight(app, "X-Says: x-app: seen")},
	}
	compareRoutes(t, []ruled{
		{
			name: "whole", http: `
  - corsPolicy:
      allowOrigins: [{exact: "https://app.example.com"}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a, x-b]
      exposeHeaders: [x-c, x-d]
      maxAge: 24h
      allowCredentials: true
    route: [{destination: {host: whole}}]`,
			filters: envoy.List{envoy.Filter(corsFilter, "Cors")},
			routes: crossOrigin("whole", envoy.List{exactly("https://app.example.com")}, envoy.Tree{
				"allow_methods": "GET,PUT", "allow_headers": "x-a,x-b", "expose_headers": "x-c,x-d", "max_age": "86400", "allow_credentials": true,
			}),
			asked: questions,
		},
		{
			name: "bare", http: `
  - corsPolicy: {allowOrigins: [{prefix: "https://app"}, {regex: "https://[a-z]+[.]example[.]org"}]}
    route: [{destination: {host: bare}}]`,
			filters: envoy.List{envoy.Filter(corsFilter, "Cors")},
			routes: crossOrigin("bare", envoy.List{
				envoy.Tree{"prefix": "https://app"}, envoy.Tree{"safe_regex": envoy.Tree{"regex": "https://[a-z]+[.]example[.]org"}},
			}, nil),
			asked: append(questions,
				asked{line: "GET /", headers: []string{"Origin: https://shop.example.org"}},
				asked{line: "GET /", headers: []string{"Origin: https://shop.example.org.evil"}},
				asked{line: "OPTIONS /", headers: preflight("Origin: https://app")},
			),
		},
		{
			name: "ignoring", http: `
  - corsPolicy: {allowOrigins: [{exact: "https://app.example.com"}], allowHeaders: ["*"], unmatchedPreflights: IGNORE}
    route: [{destination: {host: ignoring}}]`,
			filters: envoy.List{envoy.Filter(corsFilter, "Cors")},
			routes:  crossOrigin("ignoring", envoy.List{exactly("https://app.example.com")}, envoy.Tree{"allow_headers": "*", "forward_not_matching_preflights": false}),
			asked:   questions,
		},
		{
			name: "star", http: `
  - corsPolicy: {allowOrigins: [{exact: "*"}], allowMethods: [GET], allowCredentials: false}
    headers: {response: {set: {access-control-allow-origin: nobody, access-control-allow-methods: none}}}
    route: [{destination: {host: star}}]`,
			filters: envoy.List{envoy.Filter(corsFilter, "Cors")},
			routes: func() envoy.List {
				list := crossOrigin("star", envoy.List{exactly("*")}, envoy.Tree{"allow_methods": "GET", "allow_credentials": false})
				set := func(name, value string) envoy.Tree {
					return envoy.Tree{"header": envoy.Tree{"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
				}
				list[0].(envoy.Tree)["response_headers_to_add"] = envoy.List{set("access-control-allow-origin", "nobody"), set("access-control-allow-methods", "none")}
				return list
			}(),
			asked: questions,
		},
		{
			name: "redirecting", http: `
  - corsPolicy: {allowOrigins: [{exact: "https://app.example.com"}]}
    redirect: {uri: /there}`,
			filters: envoy.List{envoy.Filter(corsFilter, "Cors")},
			routes: func() envoy.List {
				list := crossOrigin("redirecting", envoy.List{exactly("https://app.example.com")}, nil)
				route := list[0].(envoy.Tree)
				delete(route, "route")
				route["redirect"] = envoy.Tree{"path_redirect": "/there"}
				return list
			}(),
			asked: []asked{
				// Envoy has no policy for what it answers itself; here a page may see the answer.
				{line: "GET /", headers: []string{app}, ours: []string{"301 by the proxy", `access-control-allow-origin: ["https://app.example.com"]`}},
				{line: "OPTIONS /", headers: preflight(app), ours: []string{"200 by the proxy", `access-control-allow-origin: ["https://app.example.com"]`}},
				{line: "GET /", headers: []string{evil}},
				{line: "OPTIONS /", headers: preflight(evil)},
			},
		},
	}, headsOf("access-control-"))
}
