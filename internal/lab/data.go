package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// dataSource gives what a ConfigMap or Secret of the pod's namespace holds; ok is false where there is none of the name.
type dataSource func(kind, name string) (data content, ok bool)

// content is what a ConfigMap or Secret holds: binary is no text for variables, but for files.
type content struct{ text, binary map[string]string }

func (c content) all() map[string]string {
	out := make(map[string]string, len(c.text)+len(c.binary))
	maps.Copy(out, c.text)
	maps.Copy(out, c.binary)
	return out
}

const (
	kindConfigMap = "ConfigMap"
	kindSecret    = "Secret"
)

// dataOf gives the content of a ConfigMap or Secret; ok is false for any other object.
func dataOf(object any) (data content, ok bool) {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		return content{text: o.Data, binary: texts(o.BinaryData)}, true
	case *corev1.Secret:
		data.text = texts(o.Data)
		maps.Copy(data.text, o.StringData) // as the API server merges them
		return data, true
	}
	return content{}, false
}

func texts(data map[string][]byte) map[string]string {
	out := make(map[string]string, len(data))
	for k, v := range data {
		out[k] = string(v)
	}
	return out
}

// get gives an object's content, none where it is not there and need not be.
func (s dataSource) get(kind, name string, optional *bool) (content, error) {
	if s != nil {
		if data, ok := s(kind, name); ok {
			return data, nil
		}
	}
	if optional != nil && *optional {
		return content{}, nil
	}
	return content{}, fmt.Errorf("there is no %s %s in the namespace of the pod", kind, name)
}

// envFrom gives the variables that whole objects are, in the order of the list and of the names in each.
func (s dataSource) envFrom(from []corev1.EnvFromSource) ([]corev1.EnvVar, error) {
	var out []corev1.EnvVar
	for i, f := range from {
		var data content
		err := errors.New("neither configMapRef nor secretRef")
		switch {
		case f.ConfigMapRef != nil:
			data, err = s.get(kindConfigMap, f.ConfigMapRef.Name, f.ConfigMapRef.Optional)
		case f.SecretRef != nil:
			data, err = s.get(kindSecret, f.SecretRef.Name, f.SecretRef.Optional)
		}
		if err != nil {
			return nil, fmt.Errorf("envFrom[%d]: %w", i, err)
		}
		for _, name := range slices.Sorted(maps.Keys(data.text)) {
			if strings.ContainsAny(name, "=\x00") {
				continue // no name of a variable: a kubelet leaves it out as well
			}
			out = append(out, corev1.EnvVar{Name: f.Prefix + name, Value: data.text[name]})
		}
	}
	return out, nil
}

// valueFrom resolves a variable; there is false where it is not to be set.
func valueFrom(p *podSpec, c *corev1.Container, from *corev1.EnvVarSource, data dataSource) (value string, there bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = podField(p, from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = resourceField(c, from.ResourceFieldRef)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		return data.key(kindConfigMap, r.Name, r.Key, r.Optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		return data.key(kindSecret, r.Name, r.Key, r.Optional)
	}
	return "", false, errors.New("only valueFrom.fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef work in the lab")
}

func (s dataSource) key(kind, name, key string, optional *bool) (value string, there bool, err error) {
	data, err := s.get(kind, name, optional)
	if err != nil {
		return "", false, err
	}
	if value, there = data.text[key]; there || optional != nil && *optional {
		return value, there, nil
	}
	return "", false, fmt.Errorf("%s %s has no key %q", kind, name, key)
}
