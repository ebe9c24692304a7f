// Command kindgen writes what the chart says of the kinds that the mesh reads: the rules by which the controller may follow
// them and write their status, the rules by which the API server asks it at admission, and the API groups of meshes. The
// kinds are those of internal/config; `go generate ./deploy` after a change there, and a test finds where that was
// forgotten.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/config/catalog"
	"fairlead.dev/fairlead/internal/source/kube"
)

func main() {
	out := flag.String("out", "chart/files/kinds", "`DIRECTORY` to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "kindgen:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // a directory of the repository
		return err
	}
	for name, content := range generate() {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil { //nolint:gosec // a file of the repository
			return err
		}
	}
	return nil
}

// generate gives the files to write. Each is a list in YAML, to be put below a key.
func generate() map[string][]byte {
	return map[string][]byte{"rbac.yaml": rbac(), "admission.yaml": admission(), "groups.yaml": groups()}
}

func list(words []string) string { return "[" + strings.Join(words, ", ") + "]" }

// rbac gives the rules of a ClusterRole: one for the resources of a group that need the same verbs.
func rbac() []byte {
	var rules []kube.Rule
	var resources [][]string
	for _, r := range kube.Rules() {
		slices.Sort(r.Verbs)
		i := slices.IndexFunc(rules, func(o kube.Rule) bool { return o.Group == r.Group && slices.Equal(o.Verbs, r.Verbs) })
		if i < 0 {
			i, rules, resources = len(rules), append(rules, r), append(resources, nil)
		}
		resources[i] = append(resources[i], r.Resource)
	}
	var b bytes.Buffer
	for i, r := range rules {
		fmt.Fprintf(&b, "- apiGroups: [%s]\n  resources: %s\n  verbs: %s\n", orCore(r.Group), list(resources[i]), list(r.Verbs))
	}
	return b.Bytes()
}

func orCore(group string) string {
	if group == "" {
		return `""`
	}
	return group
}

// admission gives the rules of a webhook that is asked about the custom kinds: in one version, for the API server converts
// the others before it asks (matchPolicy Equivalent), except where the meaning is in the version.
func admission() []byte {
	type rule struct {
		group               string
		versions, resources []string
	}
	var rules []rule
	for _, k := range config.Kinds() {
		if k.Form != config.Custom {
			continue
		}
		versions := k.Versions[:1]
		if k.AsWritten {
			versions = k.Versions
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return r.group == k.Group && slices.Equal(r.versions, versions) })
		if i < 0 {
			i, rules = len(rules), append(rules, rule{group: k.Group, versions: versions})
		}
		rules[i].resources = append(rules[i].resources, k.Resource)
	}
	var b bytes.Buffer
	for _, r := range rules {
		fmt.Fprintf(&b, "- apiGroups: [%s]\n  apiVersions: %s\n  operations: [CREATE, UPDATE]\n  resources: %s\n  scope: Namespaced\n",
			r.group, list(r.versions), list(r.resources))
	}
	return b.Bytes()
}

// groups gives the API groups of meshes.
func groups() []byte {
	var b bytes.Buffer
	for _, g := range catalog.Groups() {
		fmt.Fprintf(&b, "- %s\n", g)
	}
	return b.Bytes()
}
