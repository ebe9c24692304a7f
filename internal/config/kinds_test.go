package config

import (
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/config/catalog"
	"fairlead.dev/fairlead/internal/model"
)

// TestRowsAreWhole finds what a new row was not given.
func TestRowsAreWhole(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			for complaint, wrong := range map[string]bool{
				"its name is taken":                             names[k.Name],
				"its resource is not in lower case":             k.Resource == "" || k.Resource != strings.ToLower(k.Resource),
				"it has no version":                             len(k.Versions) == 0,
				"it has no scope or form":                       k.Scope == 0 || k.Form == 0,
				"nothing happens when an object of it goes":     k.Form != FilesOnly && k.Remove == nil,
				"it has no form in protobuf":                    k.Form == Whole && !readsProtobuf(k),
				"it is followed nowhere and has a status":       k.Form != Custom && k.Status != NoStatus,
				"its status is about no route":                  (k.Status == RouteParents) != (k.RouteSpec != nil),
				"a new object is of another Go type":            !k.Is(k.New()),
				"the webhook is not asked about its group":      k.Form == Custom && !slices.Contains(catalog.Groups(), k.Group),
				"it is in the catalog of kinds not obeyed":      inCatalog(k),
				"it is found under another name":                !NewTable().Has(k.Group, k.Name) || NewTable().Has("example.com", k.Name),
				"an object of another Go type is translated":    k.Translate(struct{}{}, Place{}).Commit != nil,
				"it is not read in the version that is advised": !k.Accepts(k.APIVersion()) || k.Accepts("example.com/v1"),
			} {
				if wrong {
					t.Error(complaint)
				}
			}
		})
		names[k.Name] = true
	}
}

func inCatalog(k Kind) bool {
	_, found := catalog.Find(k.Group, k.Name)
	return found
}

// TestNothingComesOfAStranger: an object whose kind is in no row means nothing, and neither does its end.
func TestNothingComesOfAStranger(t *testing.T) {
	t.Parallel()
	kinds := NewTable()
	ref := model.Ref{Kind: "Gateway", Key: model.Key{Namespace: "a", Name: "b"}}
	got := kinds.Translate(struct{}{}, Place{Ref: ref})
	if got.Commit != nil || got.Problems != nil || got.Endpoints != nil || kinds.Remove(ref) != nil {
		t.Errorf("Translate = %+v", got)
	}
	if kinds.Remove(model.Ref{Kind: "ServiceAccount"}) != nil {
		t.Error("the end of a ServiceAccount means something")
	}
}

// readsProtobuf reports whether the Go type of a kind is one of those that are generated for the API server's own kinds.
func readsProtobuf(k Kind) bool {
	_, ok := k.New().(interface{ Unmarshal([]byte) error })
	return ok
}
