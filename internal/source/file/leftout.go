package file

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/config/catalog"
	"fairlead.dev/fairlead/internal/model"
)

// leftOut says why an object is not read. The zero value says that it is.
type leftOut struct {
	// why is what its owner is told, with severity.
	why      *mistake
	severity model.Severity
	// bystander is set for a kind that means nothing to a mesh. Its owner is told of all of them in one line.
	bystander bool
	// unobeyed is set for a mesh's kind that is not read, guards for one that says which calls are denied.
	unobeyed, guards bool
}

// kindOf looks up the kind, or says why there is none.
func (d *decoder) kindOf(s *written) (*config.Kind, leftOut) {
	k := d.kinds[s.kind]
	group := groupOf(s.apiVersion)
	switch {
	case s.root.Kind != yaml.MappingNode:
		return nil, refused(&mistake{line: s.root.Line, message: "not a manifest: a map with apiVersion, kind and metadata is expected"})
	case s.kind == "" && toolFile(s.doc.file):
		return nil, leftOut{bystander: true}
	case s.kind == "" || s.apiVersion == "":
		return k, refused(headless(s, k))
	case k != nil && k.Accepts(s.apiVersion):
		return k, leftOut{}
	}
	if found, ok := catalog.Find(group, s.kind); ok {
		return nil, unobeyed(s, found)
	}
	switch {
	case k != nil && (group == k.Group || !foreign(s.apiVersion, k)):
		return k, refused(&mistake{
			line: fieldLine(s.root, "apiVersion"), path: "apiVersion",
			message: fmt.Sprintf("%#q has no kind %s", clip(s.apiVersion), s.kind),
			fix:     fmt.Sprintf("write `apiVersion: %s`", k.APIVersion()),
		})
	case k != nil || catalog.Bystander(group, s.kind):
		return nil, leftOut{bystander: true}
	}
	return nil, d.unknownKind(s, group)
}

func refused(m *mistake) leftOut { return leftOut{why: m, severity: model.Rejected} }

// unobeyed tells of an object that asks a mesh for something that Fairlead does not do.
func unobeyed(s *written, k catalog.Kind) leftOut {
	return leftOut{
		severity: model.Warning, unobeyed: true, guards: k.Guards,
		why: &mistake{
			line: fieldLine(s.root, "kind"), path: "kind",
			message: fmt.Sprintf("%s (%s) is not obeyed by Fairlead: %s", clip(s.kind), clip(s.apiVersion), k.Loss), fix: k.Instead,
		},
	}
}

// toolFile reports whether a file is of a tool that keeps its own files among manifests, without a kind in them.
func toolFile(path string) bool {
	switch filepath.Base(path) {
	case "Chart.yaml", "values.yaml", "kustomization.yaml", "kustomization.yml":
		return true
	}
	return false
}

// headless says that apiVersion or kind is missing, or how it was misspelt.
func headless(s *written, k *config.Kind) *mistake {
	missing := "apiVersion"
	if s.kind == "" {
		missing = "kind"
	}
	for i := 0; i+1 < len(s.root.Content); i += 2 {
		key := s.root.Content[i]
		if key.Value == missing {
			return &mistake{line: key.Line, path: missing, message: fmt.Sprintf("%#q must be text", missing)}
		}
		if nearest(key.Value, []string{"apiVersion", "kind", "metadata", "spec"}) == missing {
			return &mistake{
				line: key.Line, path: clip(key.Value),
				message: fmt.Sprintf("unknown field %#q", clip(key.Value)), fix: fmt.Sprintf("did you mean `%s:`?", missing),
			}
		}
	}
	m := &mistake{line: s.root.Line, path: missing, message: missingMessage}
	if k != nil {
		m.fix = fmt.Sprintf("write `apiVersion: %s`", k.APIVersion())
	}
	return m
}

// unknownKind tells of a kind that is in no list: a slip of the pen where it looks like one that is read, else whatever
// the group makes of it.
func (d *decoder) unknownKind(s *written, group string) leftOut {
	var names []string
	ours := false
	for _, k := range config.Kinds() {
		names = append(names, k.Name)
		ours = ours || k.Group == group
	}
	near := nearest(s.kind, names)
	if near != "" && !foreign(s.apiVersion, d.kinds[near]) {
		return leftOut{severity: model.Warning, why: &mistake{
			line: fieldLine(s.root, "kind"), path: "kind",
			message: fmt.Sprintf("%s (%s) is not read, and left out", clip(s.kind), clip(s.apiVersion)),
			fix:     fmt.Sprintf("did you mean %#q?", near),
		}}
	}
	switch {
	case slices.Contains(catalog.Groups(), group):
		return unobeyed(s, catalog.Strange(group, s.kind))
	case !ours:
		return leftOut{bystander: true}
	}
	return leftOut{severity: model.Warning, why: &mistake{
		line: fieldLine(s.root, "kind"), path: "kind",
		message: fmt.Sprintf("%s (%s) is not read, and left out", clip(s.kind), clip(s.apiVersion)),
	}}
}

// foreign reports whether apiVersion is of an API of its own that happens to have a kind of the same name, such as
// the Service of serving.knative.dev, rather than a slip.
func foreign(apiVersion string, k *config.Kind) bool {
	group := groupOf(apiVersion)
	if !strings.Contains(group, ".") {
		return false
	}
	return !slices.ContainsFunc(config.Kinds(), func(o config.Kind) bool { return o.Group == group }) && distance(group, k.Group) > 3
}

// groupOf splits an apiVersion; the core group is "".
func groupOf(apiVersion string) string {
	group, _, found := strings.Cut(apiVersion, "/")
	if !found {
		return ""
	}
	return group
}
