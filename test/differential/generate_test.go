//go:build envoy

package differential_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
)

// dice makes up rules and requests out of few words, so that they meet.
type dice struct {
	*rand.Rand

	// protocol is that of the host that is made up.
	protocol string
}

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

// often is true in so many cases of a hundred.
func (d dice) often(percent int) bool { return d.IntN(100) < percent }

func (d dice) path() string {
	return pick(d, "/", "/api", "/api/", "/api/v1", "/api/v1/users", "/apiary", "/API/v1", "/old/page", "/old", "/a.b/c", "/a%20b", "/x/api")
}

func (d dice) pathPattern() string {
	return pick(d, "/api.*", "/[a-z]+", ".*/users", "/(old|api)/?.*", "/a\\.b/.*", "/api/v[0-9]+", "/.*")
}

func (d dice) value() string { return pick(d, "a", "ab", "abc", "b", "1", "12", "") }

func (d dice) header() string { return pick(d, "x-user", "x-stage", "cookie") }

func (d dice) status() int {
	if d.protocol == "grpc" { // see "A gRPC call that is redirected" and "The time of a gRPC call"
		return pick(d, 400, 404, 500, 502, 503)
	}
	return pick(d, 200, 400, 404, 500, 502, 503, 504)
}

// stringMatch is Istio's.
func (d dice) stringMatch() string {
	return pick(d, fmt.Sprintf("{exact: %q}", d.value()), fmt.Sprintf("{prefix: %q}", pick(d, "a", "ab", "1")), `{regex: "[ab]+"}`, `{regex: "a.*|1"}`)
}

func maybe(d dice, percent int, field string, value func() string) string {
	if !d.often(percent) {
		return ""
	}
	return field + ": " + value() + ", "
}

// istioMatch is a match of a VirtualService.
func (d dice) istioMatch() string {
	var b strings.Builder
	b.WriteString(maybe(d, 70, "uri", func() string {
		return pick(d, fmt.Sprintf("{exact: %q}", d.path()), fmt.Sprintf("{prefix: %q}", d.path()), fmt.Sprintf("{regex: %q}", d.pathPattern()))
	}))
	b.WriteString(maybe(d, 20, "ignoreUriCase", func() string { return "true" }))
	b.WriteString(maybe(d, 15, "method", func() string { return pick(d, "{exact: GET}", "{exact: POST}", `{regex: "P.*"}`) }))
	b.WriteString(maybe(d, 8, "scheme", func() string { return pick(d, "{exact: http}", "{exact: https}") }))
	b.WriteString(maybe(d, 8, "authority", func() string { return pick(d, "{prefix: web}", `{exact: "other.example"}`, `{regex: "web-[0-9]+.*"}`) }))
	named := func() string {
		return "{" + d.header() + ": " + pick(d, d.stringMatch(), "{}") + "}"
	}
	b.WriteString(maybe(d, 30, "headers", named))
	b.WriteString(maybe(d, 12, "withoutHeaders", named))
	b.WriteString(maybe(d, 15, "queryParams", func() string { return "{" + pick(d, "q", "debug") + ": " + d.stringMatch() + "}" }))
	b.WriteString(maybe(d, 8, "sourceNamespace", func() string { return pick(d, "shop", "other") }))
	b.WriteString(maybe(d, 8, "sourceLabels", func() string { return pick(d, "{app: client}", "{app: stranger}") }))
	return "{" + b.String() + "}"
}

// headerChange is one of a rule. A backend's sets no value that is made of the call.
func (d dice) headerChange() string {
	return d.changeOf("v", "100%", "%REQ(x-user)%", "%PROTOCOL%-%REQ(:method)%", " padded ")
}

func (d dice) backendChange() string { return d.changeOf("v", "100%", "w") }

func (d dice) changeOf(values ...string) string {
	var b strings.Builder
	for _, op := range []string{"set", "add"} {
		b.WriteString(maybe(d, 50, op, func() string {
			return fmt.Sprintf("{%s: %q}", pick(d, "x-user", "x-new", "x-stage"), pick(d, values...))
		}))
	}
	b.WriteString(maybe(d, 40, "remove", func() string { return "[" + pick(d, "x-user", "x-stage", "x-said") + "]" }))
	return "{" + b.String() + "}"
}

func (d dice) headers(change func() string) func() string {
	return func() string { return "{" + maybe(d, 70, "request", change) + maybe(d, 60, "response", change) + "}" }
}

func (d dice) istioRule(host string) string {
	var b strings.Builder
	if d.often(85) {
		matches := make([]string, 1+d.IntN(2))
		for i := range matches {
			matches[i] = d.istioMatch()
		}
		b.WriteString("match: [" + strings.Join(matches, ", ") + "], ")
	}
	switch {
	case d.often(15) && d.protocol != "grpc": // see "A gRPC call that is redirected"
		b.WriteString("redirect: {" + maybe(d, 60, "uri", d.path) + maybe(d, 50, "authority", func() string { return pick(d, "there.example", `"there.example:8443"`) }) +
			maybe(d, 40, "scheme", func() string { return pick(d, "https", "http") }) +
			pick(d, "", "port: 8443, ", "derivePort: FROM_PROTOCOL_DEFAULT, ", "derivePort: FROM_REQUEST_PORT, ") +
			maybe(d, 50, "redirectCode", func() string { return pick(d, "301", "302", "303", "307", "308") }) + "}, ")
		return b.String()
	case d.often(10):
		fmt.Fprintf(&b, "directResponse: {status: %d, body: {string: %q}}, ", d.status(), pick(d, "hello", ""))
		b.WriteString(maybe(d, 50, "headers", func() string { return "{response: " + d.headerChange() + "}" }))
		return b.String()
	}
	return b.String() + d.call(host)
}

// call is a rule's action that sends requests on, and what goes with it.
func (d dice) call(host string) string {
	var b strings.Builder
	destination := func(weight string) string {
		return "{destination: {host: " + host + ", subset: " + pick(d, "v1", "v2") + "}" + weight + maybe(d, 25, ", headers", d.headers(d.backendChange)) + "}"
	}
	if d.often(20) {
		b.WriteString("route: [" + destination(", weight: 100") + ", " + destination(", weight: 0") + "], ")
	} else {
		b.WriteString("route: [" + pick(d, destination(""), destination(""), "{destination: {host: missing}}") + "], ")
	}
	b.WriteString(maybe(d, 30, "rewrite", func() string {
		return pick(d, fmt.Sprintf("{uri: %q}", pick(d, "/", "/new", "/new/")), "{authority: new.example}", `{uri: /both, authority: new.example}`,
			`{uriRegexRewrite: {match: "^/([a-z]+)/(.*)", rewrite: '/\2/\1'}}`, `{uriRegexRewrite: {match: "a", rewrite: "b"}}`)
	}))
	b.WriteString(maybe(d, 30, "headers", d.headers(d.headerChange)))
	b.WriteString(maybe(d, 12, "fault", d.fault))
	b.WriteString(pick(d, "", "", "", "", "", d.mirrors()))
	b.WriteString(maybe(d, 30, "retries", func() string {
		return "{attempts: " + pick(d, "0", "1", "2") + ", backoff: 1ms" + pick(d, "", ", retryOn: 5xx", ", retryOn: gateway-error", `, retryOn: "503"`, `, retryOn: "retriable-4xx,500"`, ", retryOn: reset") + "}"
	}))
	b.WriteString(maybe(d, 10, "timeout", func() string { return "300ms" }))
	b.WriteString(maybe(d, 15, "corsPolicy", func() string {
		return "{allowOrigins: [" + pick(d, `{exact: "https://a.example"}`, `{prefix: "https://"}`, `{regex: "https://[ab].*"}`) + "], " +
			maybe(d, 60, "allowMethods", func() string { return "[GET, POST]" }) + maybe(d, 50, "allowHeaders", func() string { return "[x-user]" }) +
			maybe(d, 40, "exposeHeaders", func() string { return "[x-said]" }) + maybe(d, 40, "maxAge", func() string { return "10m" }) +
			maybe(d, 40, "allowCredentials", func() string { return "true" }) + maybe(d, 30, "unmatchedPreflights", func() string { return pick(d, "FORWARD", "IGNORE") }) + "}"
	}))
	return b.String()
}

// fault is one that all requests have, or none.
func (d dice) fault() string {
	how := fmt.Sprintf("httpStatus: %d", d.status())
	if d.protocol == "grpc" { // for others see "A gRPC status for who speaks HTTP"
		how = pick(d, how, "grpcStatus: UNAVAILABLE", `grpcStatus: "5"`)
	}
	abort := "{" + how +
		", percentage: {value: " + pick(d, "100", "100", "100", "0") + "}}"
	delay := "{fixedDelay: 1ms, percentage: {value: " + pick(d, "100", "0") + "}}"
	return pick(d, "{abort: "+abort+"}", "{delay: "+delay+"}", "{delay: "+delay+", abort: "+abort+"}")
}

// mirrors have a backend of their own.
func (d dice) mirrors() string {
	port := "8080"
	if d.protocol != "http" {
		port = "8081"
	}
	at := "{host: " + copies + ", port: {number: " + port + "}}"
	to := "destination: " + at
	share := pick(d, "100", "100", "100", "0")
	return pick(d, "mirror: "+at+", ", "mirror: "+at+", mirrorPercentage: {value: "+share+"}, ", "mirrors: [{"+to+"}], ",
		"mirrors: [{"+to+", percentage: {value: "+share+"}}, {"+to+", percentage: {value: "+share+"}}], ")
}

// host makes one up: every third has an HTTPRoute, whose backends are Services, the others a VirtualService with subsets.
// Some are called in HTTP/2, and some have their endpoints chosen by a hash.
func (d dice) host(i int) host {
	d.protocol = pick(d, "http", "http", "http", "http2", "http2", "grpc")
	out := host{name: fmt.Sprint("web-", i), protocol: d.protocol, versions: versions()}
	switch {
	case i%3 == 2:
		out.versions, out.rule = out.versions[:1], d.httpRoute(out.name)
	case i%12 == 1:
		out.versions, out.policy, out.rule = hashed(), "trafficPolicy: {loadBalancer: {consistentHash: {"+d.hash()+"}}},", d.hashRule(out.name)
	default:
		out.rule = d.virtualService(out.name)
	}
	return out
}

func (d dice) hash() string {
	return pick(d, "httpHeaderName: x-user", `httpHeaderName: ":path"`, "httpQueryParameterName: q", "useSourceIp: true", "httpCookie: {name: user}",
		"httpCookie: {name: user, ttl: 0s}", "httpCookie: {name: user, ttl: 60s, path: /api}") + pick(d, "", ", maglev: {}", ", ringHash: {minimumRingSize: 64}")
}

// hashRule has requests go where the hash says, by rules that change what it is made of.
func (d dice) hashRule(name string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: shop}
spec:
  hosts: [%[1]s]
  http:
    - {route: [{destination: {host: %[1]s}}], retries: {attempts: 0}, %[2]s}
`, name, pick(d, "", "headers: {request: {set: {x-user: everybody}}}", "headers: {request: {remove: [x-user]}}", "rewrite: {uri: /one}"))
}

// virtualService makes up one for a host.
func (d dice) virtualService(host string) string {
	var rules []string
	for range 1 + d.IntN(4) {
		rules = append(rules, "\n    - {"+d.istioRule(host)+"}")
	}
	if d.often(60) { // so that few requests find no rule
		rules = append(rules, "\n    - {"+d.call(host)+"}")
	}
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: shop}
spec:
  hosts: [%[1]s]
  http:%[2]s
`, host, strings.Join(rules, ""))
}

func (d dice) gatewayMatch() string {
	var b strings.Builder
	b.WriteString(maybe(d, 75, "path", func() string {
		return pick(d, fmt.Sprintf("{type: Exact, value: %q}", d.path()), fmt.Sprintf("{type: PathPrefix, value: %q}", d.path()),
			fmt.Sprintf("{type: RegularExpression, value: %q}", d.pathPattern()))
	}))
	b.WriteString(maybe(d, 20, "method", func() string { return pick(d, "GET", "POST", "OPTIONS") }))
	b.WriteString(maybe(d, 30, "headers", func() string {
		return pick(d, fmt.Sprintf("[{name: %s, value: %q}]", d.header(), pick(d, "a", "ab", "1")), `[{name: x-user, type: RegularExpression, value: "[ab]+"}]`)
	}))
	b.WriteString(maybe(d, 20, "queryParams", func() string {
		return fmt.Sprintf("[{name: %s, value: %q}]", pick(d, "q", "debug"), pick(d, "a", "1", "ab"))
	}))
	return "{" + b.String() + "}"
}

func (d dice) gatewayPath() string {
	return pick(d, fmt.Sprintf("{type: ReplaceFullPath, replaceFullPath: %q}", pick(d, "/full", "/")),
		fmt.Sprintf("{type: ReplacePrefixMatch, replacePrefixMatch: %q}", pick(d, "/new", "/new/", "/")))
}

func (d dice) modifier() string {
	list := func() string {
		return fmt.Sprintf("[{name: %s, value: %q}]", pick(d, "x-user", "x-new", "X-Stage"), pick(d, "v", "100%", "%PROTOCOL%"))
	}
	return "{" + maybe(d, 50, "set", list) + maybe(d, 50, "add", list) + maybe(d, 40, "remove", func() string { return "[" + pick(d, "x-user", "x-said") + "]" }) + "}"
}

func (d dice) gatewayRule(host string) string {
	var b strings.Builder
	matches := make([]string, 1+d.IntN(2))
	for i := range matches {
		matches[i] = d.gatewayMatch()
	}
	b.WriteString("matches: [" + strings.Join(matches, ", ") + "], ")
	var filters []string
	if d.often(30) {
		filters = append(filters, "{type: RequestHeaderModifier, requestHeaderModifier: "+d.modifier()+"}")
	}
	if d.often(20) {
		filters = append(filters, "{type: ResponseHeaderModifier, responseHeaderModifier: "+d.modifier()+"}")
	}
	if d.often(20) && d.protocol != "grpc" {
		filters = append(filters, "{type: RequestRedirect, requestRedirect: {"+maybe(d, 50, "hostname", func() string { return "there.example" })+
			maybe(d, 40, "scheme", func() string { return pick(d, "https", "http") })+maybe(d, 30, "port", func() string { return pick(d, "8443", "443", "80") })+
			maybe(d, 60, "path", d.gatewayPath)+maybe(d, 50, "statusCode", func() string { return pick(d, "301", "302") })+"}}")
		return b.String() + "filters: [" + strings.Join(filters, ", ") + "]"
	}
	if d.often(30) {
		filters = append(filters, "{type: URLRewrite, urlRewrite: {"+maybe(d, 40, "hostname", func() string { return "new.example" })+maybe(d, 80, "path", d.gatewayPath)+"}}")
	}
	if len(filters) > 0 {
		b.WriteString("filters: [" + strings.Join(filters, ", ") + "], ")
	}
	b.WriteString("backendRefs: [{name: " + pick(d, host, host, host+"-v2", "missing") + ", port: 8080}]")
	return b.String()
}

// httpRoute makes up one for a host.
func (d dice) httpRoute(host string) string {
	rules := make([]string, 1+d.IntN(4))
	for i := range rules {
		rules[i] = "\n    - {" + d.gatewayRule(host) + "}"
	}
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: %[1]s, port: 8080}]
  rules:%[2]s
`, host, strings.Join(rules, ""))
}

// request is one to be made of both.
type request struct {
	host, method, target, body string
	header                     http.Header
}

func (q *request) clone() request {
	out := *q
	out.header = q.header.Clone()
	return out
}

func (q *request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\nhost: %s\n", q.method, q.target, q.host)
	q.header.Write(&b)
	if q.body != "" {
		b.WriteString("\n" + q.body + "\n")
	}
	return b.String()
}

// request makes one up for a host.
func (d dice) request(host string) request {
	q := request{host: pick(d, host, host+":8080", host+".shop.svc.cluster.local", host+".shop"), method: pick(d, "GET", "GET", "POST", "PUT"), target: d.path(), header: http.Header{}}
	if d.often(35) {
		q.target += "?" + pick(d, "q=a", "q=ab&debug=1", "debug=", "q=1&q=a", "x=y")
	}
	for range d.IntN(3) {
		q.header.Set(d.header(), d.value())
	}
	if d.protocol == "grpc" {
		q.method, q.body = http.MethodPost, "a message"
		q.header.Set("Content-Type", "application/grpc")
		q.header.Set("Te", "trailers")
		return q
	}
	if q.method != http.MethodGet && d.often(50) {
		q.body = pick(d, "a", "some=body")
	}
	if d.often(15) {
		q.header.Set("Cookie", pick(d, "user=a", "user=b; other=c", "other=user"))
	}
	if d.often(25) {
		q.header.Set("X-Answers", fmt.Sprint("*=", pick(d, 500, 502, 503, 404, 409, 200)))
	}
	if d.often(15) {
		q.header.Set("X-Says", "x-said: something")
	}
	if d.often(20) {
		q.header.Set("Origin", pick(d, "https://a.example", "https://c.example", "http://a.example"))
		if d.often(50) {
			q.method = http.MethodOptions
			q.header.Set("Access-Control-Request-Method", "POST")
		}
	}
	return q
}
