package envoy

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.dev/fairlead/internal/model"
)

// headered is what has header operations in Envoy's API.
type headered struct {
	requestAdd, responseAdd       *[]*corev3.HeaderValueOption
	requestRemove, responseRemove *[]string
}

func addHeaders(r *routev3.Route, ops model.HeaderOps) {
	headered{&r.RequestHeadersToAdd, &r.ResponseHeadersToAdd, &r.RequestHeadersToRemove, &r.ResponseHeadersToRemove}.put(ops)
}

func addBackendHeaders(w *routev3.WeightedCluster_ClusterWeight, ops model.HeaderOps) {
	headered{&w.RequestHeadersToAdd, &w.ResponseHeadersToAdd, &w.RequestHeadersToRemove, &w.ResponseHeadersToRemove}.put(ops)
}

func (h headered) put(ops model.HeaderOps) {
	*h.requestAdd, *h.requestRemove = headerChange(ops.Request)
	*h.responseAdd, *h.responseRemove = headerChange(ops.Response)
}

// together gives the header operations of a rule and, after them, those of its backend as one: the closer one prevails. Envoy
// applies those of the closer first, and of one list all removals, then all values that are set, then those that are added; so what
// would be set or added in vain is left out. Whether a value that is made of the call is empty, and then not set, is not known
// here: it is taken for one that is not.
func together(rule, backend model.HeaderOps) model.HeaderOps {
	return model.HeaderOps{Request: after(rule.Request, backend.Request), Response: after(rule.Response, backend.Response)}
}

func after(first, second model.HeaderChange) model.HeaderChange {
	is := func(name string) func(string) bool {
		return func(other string) bool { return strings.EqualFold(name, other) }
	}
	removed := func(h model.HeaderValue) bool { return slices.ContainsFunc(second.Remove, is(h.Name)) }
	replaced := func(h model.HeaderValue) bool {
		return removed(h) || slices.ContainsFunc(second.Set, func(s model.HeaderValue) bool { return strings.EqualFold(h.Name, s.Name) })
	}
	return model.HeaderChange{
		Set:    append(slices.DeleteFunc(slices.Clone(first.Set), removed), second.Set...),
		Add:    append(slices.DeleteFunc(slices.Clone(first.Add), replaced), second.Add...),
		Remove: append(slices.Clone(first.Remove), second.Remove...),
	}
}

// headerChange leaves out what belongs to the proxy, and the names that rewrites change.
func headerChange(c model.HeaderChange) (add []*corev3.HeaderValueOption, remove []string) {
	put := func(list []model.HeaderValue, how corev3.HeaderValueOption_HeaderAppendAction) {
		for i := range list {
			h := &list[i]
			if !changeable(h.Name) || h.Fault() != "" {
				continue
			}
			value := h.Template
			if value == "" { // static: nothing in it is an operator
				value = strings.ReplaceAll(strings.Trim(h.Value, " \t"), "%", "%%")
			}
			add = append(add, &corev3.HeaderValueOption{
				Header: &corev3.HeaderValue{Key: h.Name, Value: value}, AppendAction: how, KeepEmptyValue: h.Template == "",
			})
		}
	}
	put(c.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	put(c.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	for _, name := range c.Remove {
		if changeable(name) && model.HeaderNameFault(name) == "" {
			remove = append(remove, name)
		}
	}
	return add, remove
}

func changeable(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host") && !model.ReservedHeader(name)
}
