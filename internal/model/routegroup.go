package model

// RouteGroup is requests that an SMI HTTPRouteGroup describes: those that one of Matches holds for. Others refer to it.
type RouteGroup struct {
	Ref     Ref
	Matches []HTTPMatch
}

// Reference names the object that it was read from.
func (g *RouteGroup) Reference() Ref { return g.Ref }

// RouteGroupRef is a rule's reference to a RouteGroup; Field is its path in the object.
type RouteGroupRef struct {
	Field string
	Key   Key
}
