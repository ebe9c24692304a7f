package call

import "fairlead.dev/fairlead/internal/net/httpx"

// The marks are the fields by which the two sidecars of a call tell each other something, and the app who calls it.
// They mean what they say only on a head that a sidecar has written and a sidecar reads: an app, or a client without a
// sidecar, can neither set nor see them, on heads, informational heads and trailers, in both directions. These
// functions, and no others, take them out.
const (
	// markPrefix begins the names of all fields that are between sidecars, those of later versions too.
	markPrefix = "x-fairlead-"
	// clientCertField tells the app whom the called sidecar has verified.
	clientCertField = "x-forwarded-client-cert"
)

// cleanRequest takes the marks out of the head of a request that enters the mesh or leaves it. What of them the next
// hop needs is set afterwards.
func cleanRequest(f *httpx.Fields) { f.DelPrefix(markPrefix) }

// cleanResponse takes the marks out of a response head, final or informational, that goes on to an app or comes from
// one; whoever may believe them has read them before.
func cleanResponse(f *httpx.Fields) { f.DelPrefix(markPrefix) }

// forbiddenInRequestTrailers are fields that say who calls, and where to. A server that merges trailers into the head
// would take them for what its sidecar has checked. They are no trailers (RFC 9110 §6.5.1): routing, authentication.
func forbiddenInRequestTrailers() []string {
	return []string{clientCertField, "authorization", "proxy-authorization", "cookie", "host", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
}

// cleanRequestTrailers takes out of trailers, which may be nil, the marks and what must not stand there.
func cleanRequestTrailers(f *httpx.Fields) *httpx.Fields {
	if f == nil {
		return nil
	}
	f.DelPrefix(markPrefix)
	for _, name := range forbiddenInRequestTrailers() {
		f.Del(name)
	}
	return f
}

// cleanResponseTrailers takes the marks out of trailers, which may be nil.
func cleanResponseTrailers(f *httpx.Fields) *httpx.Fields {
	if f != nil {
		f.DelPrefix(markPrefix)
	}
	return f
}
