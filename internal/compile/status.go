package compile

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// The reasons of Gateway API's conditions (RouteConditionReason). UnsupportedProtocol is the API's for backends; it is
// used for parents too, which have no word for it. Conflicted is GEP-1426's.
const (
	reasonAccepted            = "Accepted"
	reasonNoMatchingParent    = "NoMatchingParent"
	reasonConflicted          = "Conflicted"
	reasonResolvedRefs        = "ResolvedRefs"
	reasonBackendNotFound     = "BackendNotFound"
	reasonInvalidKind         = "InvalidKind"
	reasonUnsupportedProtocol = "UnsupportedProtocol"
	reasonUnsupportedValue    = "UnsupportedValue"
)

// RouteStatus says what became of a Gateway API route that is in force: one answer for each Service that it names as a
// parent, in the order written.
func RouteStatus(r *store.Reader, g Global, rs *model.RouteSet) []model.ParentStatus {
	if len(rs.Parents) == 0 {
		return nil
	}
	v := view{snapshot: snapshot{r, g}}
	resolved, partial := referencesOf(v).resolvedRefs(rs), partial(rs)
	out := make([]model.ParentStatus, 0, len(rs.Parents))
	for _, p := range rs.Parents {
		status := model.ParentStatus{Field: p.Field, Accepted: attachments{v}.accepted(rs, p), Resolved: &resolved}
		if status.Accepted.Holds {
			status.Partial = partial
		}
		out = append(out, status)
	}
	return out
}

// resolvedRefs says whether every backend of the object exists. The reason is that of the first that does not.
func (v references) resolvedRefs(rs *model.RouteSet) model.Condition {
	var first string
	var all []string
	for _, b := range v.broken(rs) {
		if b.missing.reason == reasonUnsupportedValue {
			continue // the reference is right: partial says it
		}
		if first == "" {
			first = b.missing.reason
		}
		all = append(all, b.missing.field+": "+b.missing.message)
	}
	if first != "" {
		return model.Condition{Reason: first, Message: enumerate(all)}
	}
	return model.Condition{Holds: true, Reason: reasonResolvedRefs, Message: "every backend exists"}
}

// partial says which rules cannot be served, nil where all can.
func partial(rs *model.RouteSet) *model.Condition {
	dropped := unsupportedRules(rs)
	for _, w := range backendsOf(rs) {
		if w.Unsupported != "" {
			dropped = append(dropped, w.Field+": "+w.Unsupported)
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	// "The message for this condition MUST start with the prefix "Dropped Rule"".
	return &model.Condition{Holds: true, Reason: reasonUnsupportedValue, Message: "Dropped Rule, its requests are answered with an error: " + enumerate(dropped)}
}

// unsupportedRules lists the rules that cannot be served, each with the reason.
func unsupportedRules(rs *model.RouteSet) []string {
	var out []string
	for i := range rs.HTTP {
		if h := &rs.HTTP[i]; h.Unsupported != "" {
			out = append(out, h.Field+": "+h.Unsupported)
		}
	}
	return out
}

// enumerate joins what was found, at most five of it: a condition is for people.
func enumerate(list []string) string {
	const most = 5
	if more := len(list) - most; more > 0 {
		return strings.Join(list[:most], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(list, "; ")
}
