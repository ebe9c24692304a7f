package install

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const (
	recordName = "fairlead-install"
	// managedBy is the value of app.kubernetes.io/managed-by, and the field manager of server-side apply.
	managedBy = "fairlead"

	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	partOf         = "fairlead"

	keyVersion, keyValues, keyObjects = "version", "values.yaml", "objects"
)

// Record is what the cluster knows of an installation.
type Record struct {
	// Version of Fairlead that was installed last.
	Version string
	// Values that the user gave for it.
	Values Values
	// objects are those that installations have made and that have not been pruned.
	objects []objectRef
}

// newRecord is the ConfigMap that goes with a release.
func newRecord(r *Release) (*unstructured.Unstructured, error) {
	self := objectRef{"v1", "ConfigMap", r.Namespace, recordName}
	refs := []objectRef{self}
	for _, o := range r.Objects {
		refs = append(refs, refOf(o))
	}
	values, err := yaml.Marshal(r.Values)
	if err != nil {
		return nil, err
	}
	cm := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: self.apiVersion, Kind: self.kind},
		ObjectMeta: metav1.ObjectMeta{Name: self.name, Namespace: self.namespace, Labels: map[string]string{
			"app.kubernetes.io/name": releaseName, "app.kubernetes.io/instance": releaseName,
			"app.kubernetes.io/version": r.Version, labelPartOf: partOf, labelManagedBy: managedBy,
		}},
		Data: map[string]string{keyVersion: r.Version, keyValues: string(values), keyObjects: formatRefs(refs)},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cm)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: object}, nil
}

// withObjects is the record as it was rendered, with the objects of an earlier one added to its list: until they are
// pruned they must not be forgotten, even if the upgrade is broken off.
func withObjects(record *unstructured.Unstructured, earlier []objectRef) (*unstructured.Unstructured, error) {
	text, _, err := unstructured.NestedString(record.Object, "data", keyObjects)
	if err != nil {
		return nil, err
	}
	refs, err := parseRefs(text)
	if err != nil {
		return nil, err
	}
	out := record.DeepCopy()
	return out, unstructured.SetNestedField(out.Object, formatRefs(append(refs, earlier...)), "data", keyObjects)
}

// parseRecord reads the ConfigMap.
func parseRecord(cm *corev1.ConfigMap) (*Record, error) {
	values, err := ParseValues("values of the installation, ConfigMap "+cm.Namespace+"/"+cm.Name, []byte(cm.Data[keyValues]))
	if err != nil {
		return nil, err
	}
	refs, err := parseRefs(cm.Data[keyObjects])
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err)
	}
	return &Record{Version: cm.Data[keyVersion], Values: values, objects: refs}, nil
}

// formatRefs writes one object a line, "apps/v1 Deployment fairlead-system/fairlead-controller", in order.
func formatRefs(refs []objectRef) string {
	slices.SortFunc(refs, objectRef.compare)
	var b strings.Builder
	for _, r := range slices.Compact(refs) {
		fmt.Fprintf(&b, "%s %s %s/%s\n", r.apiVersion, r.kind, r.namespace, r.name)
	}
	return b.String()
}

func parseRefs(text string) ([]objectRef, error) {
	var refs []objectRef
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil, fmt.Errorf("%s: line %q does not name an object", keyObjects, strings.TrimSpace(line))
		}
		namespace, name, _ := strings.Cut(words[2], "/")
		refs = append(refs, objectRef{words[0], words[1], namespace, name})
	}
	return refs, nil
}
