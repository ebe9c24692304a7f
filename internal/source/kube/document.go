package kube

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// document is a custom object as it came: what identifies it, and its text. Decoding a list or a watch therefore
// never fails because of one object in it.
type document struct {
	metav1.ObjectMeta // name, namespace and resourceVersion only

	text []byte
}

// UnmarshalJSON keeps text and reads what identifies the object. The decoder uses its buffer again, hence the copy.
func (d *document) UnmarshalJSON(text []byte) error {
	var h struct {
		Metadata struct{ Name, Namespace, ResourceVersion string }
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return err
	}
	d.Name, d.Namespace, d.ResourceVersion = h.Metadata.Name, h.Metadata.Namespace, h.Metadata.ResourceVersion
	d.text = bytes.Clone(text)
	return nil
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

func unexpected(o metav1.Object) error {
	return fmt.Errorf("the API server sent a %T", o)
}
