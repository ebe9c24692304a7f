package compile

import (
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// Client is who asks, from its verified identity.
type Client struct {
	Namespace string
	// Pod is the client's own pod, empty where its token is not bound to one.
	Pod string
}

// MayRead reports whether the client may read what a name leads to. What Resolve gives is for every pod of a namespace;
// an inbound policy is for its own pod alone.
func (c Client) MayRead(name string) bool {
	kind, rest, _ := strings.Cut(name, "/")
	if kind == "in" {
		return c.Pod != "" && rest == model.Key{Namespace: c.Namespace, Name: c.Pod}.String()
	}
	return readableIn(c.Namespace, kind, rest)
}

// readableIn reports whether the clients of a namespace may read by this name, given in two parts. Aliases may be asked
// by everybody: what they lead to depends on who asks. A destination's name without a variant holds what is exported to
// all. A variant holds what one namespace sees, its private rules included. Shards are sent with the destination that
// names them, and never for themselves: they say nothing about who may see the service behind them.
func readableIn(namespace, kind, rest string) bool {
	switch kind {
	case "dst", "pod":
		_, variant, ok := strings.Cut(rest, variantMark)
		return !ok || variant == namespace
	case "in":
		owner, _, ok := strings.Cut(rest, "/")
		return ok && owner == namespace
	case "eps":
		return false
	}
	return true
}
