package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// document is a custom object as it came: what identifies it, and its text. Decoding a list or a watch therefore
// never fails because of one object in it.
type document struct {
	metav1.TypeMeta
	metav1.ObjectMeta // name, namespace and resourceVersion only

	text []byte
}

// documentList is a list of documents.
type documentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []document `json:"items"`
}

// UnmarshalJSON keeps text and reads what identifies the object. The decoder uses its buffer again, hence the copy.
func (d *document) UnmarshalJSON(text []byte) error {
	var h struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace, ResourceVersion string }
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return err
	}
	d.APIVersion, d.Kind = h.APIVersion, h.Kind
	d.Name, d.Namespace, d.ResourceVersion = h.Metadata.Name, h.Metadata.Namespace, h.Metadata.ResourceVersion
	d.text = bytes.Clone(text)
	return nil
}

// DeepCopyObject implements runtime.Object.
func (d *document) DeepCopyObject() runtime.Object { //nolint:ireturn // as the interface demands
	out := *d
	out.ObjectMeta = metav1.ObjectMeta{Name: d.Name, Namespace: d.Namespace, ResourceVersion: d.ResourceVersion}
	out.text = bytes.Clone(d.text)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *documentList) DeepCopyObject() runtime.Object { //nolint:ireturn // as the interface demands
	out := *l
	out.ListMeta = metav1.ListMeta{ResourceVersion: l.ResourceVersion, Continue: l.Continue}
	out.Items = slices.Clone(l.Items)
	return &out
}

// undecodable is the error of a custom object that does not fit its Go type.
type undecodable struct {
	text  []byte
	cause error
}

// Error implements error.
func (e *undecodable) Error() string { return e.cause.Error() }

// Unwrap implements errors.
func (e *undecodable) Unwrap() error { return e.cause }

func unexpected(o runtime.Object) error {
	return fmt.Errorf("the API server sent a %T", o)
}

// addMeta adds what every API group has: statuses, watch events, and objects reduced to their metadata.
func addMeta(scheme *runtime.Scheme) error {
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return metav1.AddMetaToScheme(scheme)
}
