package install

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/deploy"
)

const (
	// DefaultNamespace is where the control plane lives unless told otherwise.
	DefaultNamespace = "fairlead-system"
	// DefaultKubeVersion is what is rendered for where no cluster can be asked.
	DefaultKubeVersion = "1.30"
	// releaseName is what the release is called where templates ask for it.
	releaseName = "fairlead"
)

// Options say what to render.
type Options struct {
	// Namespace of the control plane.
	Namespace string
	// Version of Fairlead, which is also the tag of its images; empty for that of the chart.
	Version string
	// KubeVersion of the API server, such as 1.30 or v1.34.4; empty for DefaultKubeVersion.
	KubeVersion string
	// Values are the user's, the last one on top.
	Values []Values
}

// Release is what an installation consists of.
type Release struct {
	Namespace, Version string
	// Values are all values that the user gave.
	Values map[string]any
	// Objects are in the order in which they are applied. The record of the installation is one of them.
	Objects []*unstructured.Unstructured
}

// Render renders the chart. An error about values names the setting, what is expected of it, and where it was given.
func Render(o Options) (*Release, error) {
	if wrong := validation.IsDNS1123Label(o.Namespace); len(wrong) > 0 {
		return nil, fmt.Errorf("namespace %q: %s", o.Namespace, strings.Join(wrong, "; "))
	}
	ch, err := loadChart()
	if err != nil {
		return nil, err
	}
	if o.Version != "" {
		ch.Metadata.AppVersion = o.Version
	}
	if err := check(ch.Schema, o.Values); err != nil {
		return nil, err
	}
	settings := merge(o.Values)
	if err := errors.Join(checkHub(settings), checkGateway(settings)); err != nil {
		return nil, err
	}
	files, err := render(ch, o)
	if err != nil {
		return nil, err
	}
	r := &Release{Namespace: o.Namespace, Version: ch.Metadata.AppVersion, Values: merge(o.Values)}
	if r.Objects, err = parseObjects(files); err != nil {
		return nil, err
	}
	record, err := newRecord(r)
	if err != nil {
		return nil, err
	}
	r.Objects = append(r.Objects, record)
	slices.SortFunc(r.Objects, func(a, b *unstructured.Unstructured) int { return refOf(a).compare(refOf(b)) })
	return r, nil
}

// loadChart reads the embedded chart.
func loadChart() (*chart.Chart, error) {
	root, err := deploy.Chart()
	if err != nil {
		return nil, err
	}
	var files []*loader.BufferedFile
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		files = append(files, &loader.BufferedFile{Name: name, Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	return loader.LoadFiles(files)
}

// render gives the text of each template by its path.
func render(ch *chart.Chart, o Options) (map[string]string, error) {
	version, err := semver.NewVersion(orDefault(o.KubeVersion, DefaultKubeVersion))
	if err != nil {
		return nil, fmt.Errorf("version of Kubernetes %q: %w", o.KubeVersion, err)
	}
	kube := "v" + version.String()
	if fits, err := matchesVersion(ch.Metadata.KubeVersion, kube); err != nil || !fits {
		return nil, fmt.Errorf("Kubernetes %s is too old: Fairlead needs %s", kube, strings.TrimSuffix(ch.Metadata.KubeVersion, "-0")) //nolint:staticcheck // a name
	}
	t, err := parseTemplates(ch)
	if err == nil {
		var files map[string]string
		if files, err = t.render(ch, chartData(ch, o, kube)); err == nil {
			return files, nil
		}
	}
	return nil, fmt.Errorf("chart: %w", err)
}

// chartData is what templates see, under the names that Helm gives it.
func chartData(ch *chart.Chart, o Options, kube string) map[string]any {
	files := chartFiles{}
	for _, f := range ch.Files {
		files[f.Name] = string(f.Data)
	}
	// Without Helm nothing else makes the namespace.
	layers := append([]Values{{Settings: ch.Values}, {Settings: map[string]any{"namespace": map[string]any{"create": true}}}}, o.Values...)
	return map[string]any{
		"Chart":        map[string]any{"AppVersion": ch.AppVersion()},
		"Release":      map[string]any{"Name": releaseName, "Namespace": o.Namespace, "Service": managedBy},
		"Capabilities": map[string]any{"KubeVersion": map[string]any{"Version": kube}},
		"Values":       withoutNulls(merge(layers)),
		"Files":        files,
	}
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// parseObjects reads the objects in rendered files. Only kinds of the table may be among them, so that one that is new
// in the chart is given a place in the order.
func parseObjects(files map[string]string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(files[name])))
		for {
			text, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			o, err := parseObject(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if o != nil {
				objects = append(objects, o)
			}
		}
	}
	return objects, nil
}

// parseObject reads one document; it is nil where there is nothing but comments.
func parseObject(text []byte) (*unstructured.Unstructured, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil || bytes.Equal(asJSON, []byte("null")) {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(asJSON); err != nil {
		return nil, err
	}
	if ref := refOf(o); ref.rank() < 0 {
		return nil, fmt.Errorf("%s: no place in the order of installation", ref)
	}
	return o, nil
}

// WriteYAML writes the objects as `kubectl apply -f -` takes them.
func (r *Release) WriteYAML(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "# Fairlead %s in namespace %s.\n", r.Version, r.Namespace); err != nil {
		return err
	}
	return writeYAML(w, r.Objects)
}

func writeYAML(w io.Writer, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

// WriteRemoval writes what `kubectl delete -f -` takes to remove the release: names only, the webhooks first. What of
// keep is asked for stays.
func (r *Release) WriteRemoval(w io.Writer, keep Keep) error {
	if _, err := fmt.Fprintf(w, "# Removes Fairlead from namespace %s.\n", r.Namespace); err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	for _, o := range slices.Backward(r.Objects) {
		ref := refOf(o)
		if keep.keeps(ref) {
			continue
		}
		name := &unstructured.Unstructured{Object: map[string]any{}}
		name.SetAPIVersion(ref.apiVersion)
		name.SetKind(ref.kind)
		name.SetName(ref.name)
		name.SetNamespace(ref.namespace)
		objects = append(objects, name)
	}
	return writeYAML(w, objects)
}
