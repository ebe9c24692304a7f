package model

// ParentStatus is what became of a Gateway API route at one of the Services that it names as parents. The words are
// those of the conditions of Gateway API (RouteConditionType and RouteConditionReason).
type ParentStatus struct {
	// Field is the path of the parent in the object ("spec.parentRefs[0]").
	Field string
	// Accepted says whether calls to the Service are routed by the object.
	Accepted Condition
	// Resolved says whether the object's backends exist; nil where that was not checked.
	Resolved *Condition
	// Partial holds where some of the rules are in force and others cannot be; nil otherwise.
	Partial *Condition
}

// Condition is the answer to one question about an object.
type Condition struct {
	Holds bool
	// Reason is one CamelCase word for programs, Message a sentence for people.
	Reason, Message string
}
