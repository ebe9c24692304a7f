package route

import (
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// Table is the routes of one destination, ready to be matched. It is immutable: any number of goroutines may
// use it, and it is replaced as a whole.
type Table struct {
	entries []Route
	index   *index // nil where the entries are few
}

// Route is one route with one of its alternative matches.
type Route struct {
	// Plan is what was compiled, for timeouts, retries, faults and mirrors. It is not changed.
	Plan *plan.Route
	// StatPrefix is what its requests are counted under, "" for nothing.
	StatPrefix string

	*action
	when conditions
}

// action is what the alternatives of a route share.
type action struct {
	backends []Backend
	total    uint64 // sum of weights
	headers  headerOps
	rewrite  rewrite
	redirect *redirect
	cors     *CORS
	fault    string
}

// Backend is one place to send a request to.
type Backend struct {
	// Index is the place in Destination.Backends.
	Index uint16

	upTo    uint64 // sum of the weights up to this one
	headers headerOps
	rewrite rewrite
	fault   string
}

// Fault says why what the rule makes of a request or response cannot be sent, "" where it can.
func (r *Route) Fault() string { return r.fault }

// Fault is the same of what applies to one backend.
func (b *Backend) Fault() string { return b.fault }

// conditions must all hold. A zero matcher holds always.
type conditions struct {
	from                      callerCondition
	path                      matcher
	port                      uint16
	scheme, method, authority matcher
	headers                   []headerMatcher
	query                     []queryMatcher
}

// Compile prepares routes. The error names the route whose pattern is wrong.
func Compile(routes []plan.Route) (*Table, error) {
	t := &Table{}
	for i := range routes {
		if err := t.add(&routes[i]); err != nil {
			return nil, fmt.Errorf("route %q (%s): %w", routes[i].Name, routes[i].Origin, err)
		}
	}
	if len(t.entries) > fewEntries {
		t.index = newIndex(t.entries)
	}
	return t, nil
}

func (t *Table) add(r *plan.Route) error {
	a, err := compileAction(r)
	if err != nil {
		return err
	}
	if len(r.Matches) == 0 {
		t.entries = append(t.entries, Route{Plan: r, action: a})
	}
	for i := range r.Matches {
		when, err := compileConditions(&r.Matches[i])
		if err != nil {
			return err
		}
		one := Route{Plan: r, action: a, when: when}
		if i < len(r.Stats) {
			one.StatPrefix = r.Stats[i]
		}
		t.entries = append(t.entries, one)
	}
	return nil
}

func compileAction(r *plan.Route) (*action, error) {
	a := &action{headers: compileHeaderOps(r.Headers), fault: cmp.Or(r.Headers.Fault(), r.Rewrite.Fault(), r.Redirect.Fault())}
	var err error
	if a.rewrite, err = compileRewrite(r.Rewrite); err != nil {
		return nil, err
	}
	if r.Redirect != nil {
		a.redirect = &redirect{Redirect: r.Redirect, path: compilePath(r.Redirect.Path, r.Redirect.HasPath, r.Redirect.ReplacePrefix)}
	}
	if a.cors, err = compileCORS(r.CORS); err != nil {
		return nil, err
	}
	for i := range r.Backends {
		b := &r.Backends[i]
		a.total += uint64(b.Weight)
		c := Backend{Index: b.Backend, upTo: a.total, headers: compileHeaderOps(b.Headers), fault: cmp.Or(b.Headers.Fault(), b.Rewrite.Fault())}
		if c.rewrite, err = compileRewrite(b.Rewrite); err != nil {
			return nil, err
		}
		a.backends = append(a.backends, c)
	}
	return a, nil
}

func compileConditions(m *model.HTTPMatch) (conditions, error) {
	c := conditions{from: callerCondition{m.SourceNamespace, m.SourceLabels}, port: m.Port}
	var err error
	for _, part := range []struct {
		to   *matcher
		from *model.StringMatch
	}{{&c.path, m.URI}, {&c.scheme, m.Scheme}, {&c.method, m.Method}, {&c.authority, m.Authority}} {
		if part.from == nil {
			continue
		}
		if *part.to, err = compileMatcher(*part.from); err != nil {
			return c, err
		}
	}
	for i := range m.Headers {
		h, err := compileHeader(&m.Headers[i])
		if err != nil {
			return c, err
		}
		c.headers = append(c.headers, h)
	}
	for i := range m.Query {
		q, err := compileMatcher(m.Query[i].Match)
		if err != nil {
			return c, err
		}
		c.query = append(c.query, queryMatcher{name: m.Query[i].Name, value: q, invert: m.Query[i].Invert})
	}
	return c, nil
}

// Match gives the first route whose conditions hold for a caller's request to a port of the destination, nil where there
// is none (404, NR). It may use the memory behind req.Fields for scratch and leaves the request as it was.
func (t *Table) Match(req *httpx.Request, from Caller, port uint16) *Route {
	a := asking{req: req, from: from, port: port}
	a.path, a.query = splitPath(req.Path)
	if t.index != nil {
		if i := t.find(&a); i >= 0 {
			return &t.entries[i]
		}
		return nil
	}
	for i := range t.entries {
		if t.entries[i].when.takes(&a) {
			return &t.entries[i]
		}
	}
	return nil
}

// splitPath cuts a request target into path and query. Neither contains the separator; a fragment, which does not
// belong there (RFC 9112 §3.2), counts for neither.
func splitPath(target []byte) (path, query []byte) {
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i+1:]
	}
	return target, nil
}

// hold reports whether every condition on the request itself holds, cheap ones first.
func (c *conditions) hold(req *httpx.Request, path, query []byte) bool {
	if !c.path.match(path) || !c.method.match(req.Method) || !c.authority.match(req.Authority) {
		return false
	}
	if c.scheme.kind != 0 && !c.scheme.match(schemeOf(req)) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].match(req) {
			return false
		}
	}
	for i := range c.query {
		if !c.query[i].match(&req.Fields, query) {
			return false
		}
	}
	return true
}

// What messages do not spell out. Shared, so nothing may be appended to them or changed.
//
//nolint:gochecknoglobals // constants that are bytes
var (
	plaintextScheme = []byte("http")
	upgradeOption   = []byte("Upgrade")
)

// schemeOf is the request's scheme; an HTTP/1 request in origin form carries none and came in plaintext.
func schemeOf(req *httpx.Request) []byte {
	if len(req.Scheme) == 0 {
		return plaintextScheme
	}
	return req.Scheme
}

// Pick chooses among the backends by weight. r is a random number, uniform over all values. It gives nil where there
// is none: a redirect or a direct response.
func (r *Route) Pick(random uint64) *Backend {
	switch len(r.backends) {
	case 0:
		return nil
	case 1:
		return &r.backends[0]
	}
	if r.total == 0 {
		return nil
	}
	at := share(random, r.total)
	for i := range r.backends {
		if at < r.backends[i].upTo {
			return &r.backends[i]
		}
	}
	return &r.backends[len(r.backends)-1]
}

// Backends are those that Pick chooses among, and those of weight 0.
func (r *Route) Backends() []Backend { return r.backends }

// share makes a number below total of one that is uniform over all values.
func share(random, total uint64) uint64 {
	at, _ := bits.Mul64(random, total)
	return at
}

// headerMatcher compares the value of a header, all of its fields joined.
type headerMatcher struct {
	name   string
	from   headerOrigin
	value  matcher
	invert bool
}

// headerOrigin says where the value of a header is: the codecs keep some apart.
type headerOrigin uint8

const (
	fromFields headerOrigin = iota
	fromAuthority
	fromMethod
	fromPath
	fromScheme
	fromUpgrade
	fromConnection
	fromContentLength
)

// headerOrigins name the headers that are not among Fields.
var headerOrigins = map[string]headerOrigin{
	"host": fromAuthority, ":authority": fromAuthority, ":method": fromMethod, ":path": fromPath, ":scheme": fromScheme,
	"upgrade": fromUpgrade, "connection": fromConnection, "content-length": fromContentLength,
}

func compileHeader(m *model.NamedMatch) (headerMatcher, error) {
	value, err := compileMatcher(m.Match)
	name := strings.ToLower(m.Name)
	return headerMatcher{name: name, from: headerOrigins[name], value: value, invert: m.Invert}, err
}

// match reports whether the header has the value. A missing one never has; inverted it is taken for an empty one,
// as Istio has Envoy do (treat_missing_header_as_empty), except where only presence is asked for.
func (h *headerMatcher) match(req *httpx.Request) bool {
	value, ok := h.find(req)
	got := (ok || h.invert && h.value.kind != model.Present) && h.value.match(value)
	return got != h.invert
}

func (h *headerMatcher) find(req *httpx.Request) (value []byte, ok bool) {
	switch h.from {
	case fromAuthority:
		return req.Authority, true
	case fromMethod:
		return req.Method, true
	case fromPath:
		return req.Path, true
	case fromScheme:
		return schemeOf(req), true
	case fromUpgrade:
		return req.Upgrade, req.Upgrade != nil
	case fromConnection:
		return upgradeOption, req.Upgrade != nil
	case fromContentLength:
		return strconv.AppendInt(req.Fields.Scratch(20), req.ContentLength, 10), req.ContentLength > 0
	case fromFields:
		return joined(&req.Fields, h.name)
	}
	return nil, false
}

// joined gives the values of all fields of a name, with commas between them (RFC 9110 §5.3), and between cookies what stands
// between cookies: HTTP/2 takes them apart and puts them together so (RFC 9113 §8.2.3), and some clients of HTTP/1.1 write
// several lines although they must not (RFC 6265 §5.4). Where there are several, the result is scratch memory.
func joined(f *httpx.Fields, name string) (value []byte, ok bool) {
	first := f.Next(name, 0)
	if first < 0 {
		return nil, false
	}
	_, value = f.At(first)
	next := f.Next(name, first+1)
	if next < 0 {
		return value, true
	}
	between := ","
	if name == "cookie" {
		between = "; "
	}
	all := append(f.Scratch(f.Size()+len(between)*f.Len()), value...)
	for ; next >= 0; next = f.Next(name, next+1) {
		_, value = f.At(next)
		all = append(append(all, between...), value...)
	}
	return all, true
}
