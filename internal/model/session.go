package model

import "time"

// SessionBy is what carries the token of a session.
type SessionBy uint8

// The carriers. The zero value means that no session is kept.
const (
	SessionByNothing SessionBy = iota
	SessionByCookie
	SessionByHeader
)

// String gives Gateway API's word.
func (b SessionBy) String() string {
	switch b {
	case SessionByNothing:
		return "Nothing"
	case SessionByCookie:
		return "Cookie"
	case SessionByHeader:
		return "Header"
	}
	return "invalid"
}

// SessionPersistence has the calls of a client go on to the endpoint that answered its first one, as long as that is there
// (GEP-1619).
type SessionPersistence struct {
	By SessionBy
	// Name is that of the cookie, or of the header in lower case; empty for one that is made up.
	Name string
	// Timeout is how long a session lasts from its beginning, 0 = for as long as its endpoint is there. A Permanent cookie
	// says so to the client, which keeps it beyond the end of the browser.
	Timeout   time.Duration
	Permanent bool
	// Path is that of the cookie, empty for that of the route.
	Path string
}
