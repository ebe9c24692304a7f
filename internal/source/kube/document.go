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

// decoded makes the read function of a custom kind: text to *T, then strip.
func decoded[T any](strip func(*T)) func(runtime.Object) (any, error) {
	return func(o runtime.Object) (any, error) {
		doc, ok := o.(*document)
		if !ok {
			return nil, unexpected(o)
		}
		out := new(T)
		if err := json.Unmarshal(doc.text, out); err != nil {
			return nil, &undecodable{text: doc.text, cause: err}
		}
		strip(out)
		return out, nil
	}
}

// stripped makes the read function of a typed kind.
func stripped[T any](strip func(*T)) func(runtime.Object) (any, error) {
	return func(o runtime.Object) (any, error) {
		out, ok := any(o).(*T)
		if !ok {
			return nil, unexpected(o)
		}
		strip(out)
		return out, nil
	}
}

func unexpected(o runtime.Object) error {
	return fmt.Errorf("the API server sent a %T", o)
}

// addMeta adds what every API group has: statuses, watch events, and objects reduced to their metadata.
func addMeta(scheme *runtime.Scheme) error {
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return metav1.AddMetaToScheme(scheme)
}
