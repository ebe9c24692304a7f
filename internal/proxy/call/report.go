package call

import (
	"cmp"
	"math/rand/v2"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// answer sends a response that the configuration made: a redirect, or a direct response.
func (f *forwarder) answer(down httpx.ServerExchange, body []byte) error {
	f.resp.ContentLength = int64(len(body))
	if f.resp.Status == 304 {
		f.resp.ContentLength = -1 // it would be that of a 200 (RFC 9110 §8.6)
	}
	if err := down.Respond(&f.resp); err != nil {
		return cmp.Or(responseTooLarge(err), unsendable(err), DownstreamError(err))
	}
	f.wrote = true
	if len(body) > 0 {
		if _, err := down.Write(body); err != nil {
			return DownstreamError(err)
		}
		f.sent = int64(len(body))
	}
	if err := down.End(nil); err != nil {
		return DownstreamError(err)
	}
	return nil
}

// localReply sends what an outcome says. mark, if set, tells the caller's sidecar how far the request got, and why no
// further.
func (c *Call) localReply(down httpx.ServerExchange, out httpx.Outcome, mark, cause string) error {
	c.resp.Reset()
	c.resp.Status = out.Status
	c.resp.Fields.AddName("proxy-status", out.AppendProxyStatus(nil, ProxyName))
	if field := out.OverloadField(); field != "" {
		c.resp.Fields.AddString(field, "true")
	}
	if mark != "" {
		c.resp.Fields.AddString(ErrorField, mark)
		if cause != "" {
			c.resp.Fields.AddString(causeField, cause)
		}
	}
	var body []byte
	if isGRPC(down.Request()) {
		c.grpcReply(out)
	} else {
		c.resp.Fields.AddString("content-type", "text/plain")
		body = []byte(out.Body + "\n")
	}
	c.Common.Filters.Local(&c.view)
	return c.answer(down, body)
}

// ProxyName is how this proxy calls itself in Proxy-Status (RFC 9209).
const ProxyName = "fairlead"

// identify gives the request an X-Request-Id where it has none (a random UUID, RFC 9562 version 4).
func (c *Call) identify(req *httpx.Request) {
	if req.Fields.Get("x-request-id") != nil {
		return
	}
	const digits = "0123456789abcdef"
	hi, lo := rand.Uint64(), rand.Uint64() //nolint:gosec // an identifier, not a secret
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	n := 0
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			c.id[n] = '-'
			n++
		}
		word := hi
		if i >= 16 {
			word = lo
		}
		c.id[n] = digits[word>>(60-4*(i%16))&15]
		n++
	}
	req.Fields.AddName("x-request-id", c.id[:])
}

// noHealthy names the endpoints that a picker of the backend could not pick, and why.
func noHealthy(b *directory.Backend, picker *directory.Picker) error {
	if host, err := b.Unresolved(); err != nil {
		return &httpx.Error{Reason: httpx.UpstreamDNSFailure, Object: b.Plan.Name, Detail: string(host), Err: err}
	}
	local := b.Plan.Proximity == model.OnlySameNode
	var why []string
	for _, e := range picker.All() {
		at := string(model.AppendAddr(nil, e.Plan.Addr))
		state := at + " " + strings.ToLower(e.Plan.Health.String())
		if cause, until, ok := e.Outlier(time.Now()); ok {
			state = at + " " + ejected(b.Plan.Outlier, until) + " (" + cause + ")"
		}
		if local {
			state += " on " + nodeName(e.Plan.Workload.Node)
		}
		why = append(why, state)
		if len(why) == 5 {
			why = append(why, "…")
			break
		}
	}
	detail := "no endpoints"
	if len(why) > 0 {
		detail = "excluded: " + strings.Join(why, ", ")
	}
	if local {
		detail = "internalTrafficPolicy Local of Service " + b.Plan.Service.String() + " allows only endpoints on the caller's " +
			nodeName(picker.Here().Node) + ": " + detail
	}
	return &httpx.Error{Reason: httpx.NoHealthyUpstream, Object: b.Plan.Name, Detail: detail}
}

// ejected says by what an endpoint is, and for how long.
func ejected(rules *model.OutlierDetection, until time.Time) string {
	by := "outlierDetection"
	if rules != nil && rules.Accrual != nil {
		by = "failure-accrual"
	}
	left := time.Until(until).Round(time.Second)
	if left <= 0 {
		return "ejected by " + by + " until one call succeeds"
	}
	return "ejected by " + by + " for another " + left.String()
}

func nodeName(name string) string {
	if name == "" {
		return "unknown node"
	}
	return "node " + name
}
