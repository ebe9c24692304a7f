package plan

import (
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Session has the calls of a client that match a route go on to the endpoint that answered its first one. Which that is
// stands in a token, which the client's cookie or header carries and no client can read.
type Session struct {
	By model.SessionBy
	// Name is that of the cookie, or of the header in lower case.
	Name string
	// Timeout is how long a token counts, 0 = for as long as its endpoint is there. A Permanent cookie says so to the client.
	Timeout   time.Duration
	Permanent bool
	// Paths are those for which cookies are set: of those that a request's path begins with, the longest.
	Paths []string
	// Scope is what tokens are for. Those of another scope are as none.
	Scope string
}

// Seal is what the tokens of sessions are sealed with: AES-256 keys, base64, for one host. It is sent with the destinations
// that need it, to those who may call them. It is a secret: kept in memory alone, and on no page.
type Seal struct {
	Name string
	// Keys open tokens, the first seals them. Others are those of before, and of after: replicas of a control plane change
	// them at their own time.
	Keys []string
}

// ResourceName implements Resource.
func (s *Seal) ResourceName() string { return s.Name }
