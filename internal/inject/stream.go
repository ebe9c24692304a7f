package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	k8syaml "sigs.k8s.io/yaml"
)

// Target is one object of a stream of manifests.
type Target struct {
	Kind, Namespace, Name string
	// Pod is the object itself, or what its template makes; nil for kinds without pods.
	Pod *corev1.Pod
}

// String gives "Deployment myapp/orders".
func (t Target) String() string {
	if t.Namespace == "" {
		return t.Kind + " " + t.Name
	}
	return t.Kind + " " + t.Namespace + "/" + t.Name
}

// Edit calls edit for every object in text, a stream of YAML or JSON documents and Lists, and gives the stream with the
// pods that edit returns: nil, or the pod it was given, leaves the object alone. Documents without a change keep every
// byte; others keep their comments and the order of their fields. All errors are reported, each with its object.
func Edit(text []byte, edit func(Target) (*corev1.Pod, error)) ([]byte, error) {
	var out bytes.Buffer
	var errs []error
	for _, d := range documents(string(text)) {
		edited, err := d.edit(edit)
		if err != nil {
			errs = append(errs, err)
		}
		out.WriteString(edited)
	}
	return out.Bytes(), errors.Join(errs...)
}

// document is one of a stream. marker is the line that begins it, if there is one; text is everything else, where what
// follows the marker on its line belongs to the text.
type document struct {
	line         int
	marker, text string
}

// documents splits a stream. Marker and text of all of them, in order, are the stream.
func documents(stream string) []document {
	docs := []document{{line: 1}}
	number := 0
	for line := range strings.Lines(stream) {
		number++
		if begins(line) {
			docs = append(docs, document{line: number, marker: line[:3], text: line[3:]})
			continue
		}
		docs[len(docs)-1].text += line
	}
	return docs
}

// begins recognises the markers "---" and "..." (YAML 1.2 §9.1.2), which no content can hold in the first column.
func begins(line string) bool {
	return (strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")) && (len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3])))
}

// manifest is what is read of an object to find its pod.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// templatePath says where, by kind, the template of its pods is. The empty path is the object itself.
func templatePath(kind string) (path string, hasPods bool) {
	switch kind {
	case "Pod":
		return "", true
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job":
		return "/spec/template", true
	case "CronJob":
		return "/spec/jobTemplate/spec/template", true
	}
	return "", false
}

// change is what is to be done to one pod of a document.
type change struct {
	path string
	ops  []Operation
}

func (d *document) edit(edit func(Target) (*corev1.Pod, error)) (string, error) {
	raw := d.marker + d.text
	asJSON, err := k8syaml.YAMLToJSON([]byte(d.text))
	if err != nil {
		return raw, fmt.Errorf("document at line %d: %w", d.line, err)
	}
	if string(asJSON) == "null" {
		return raw, nil
	}
	changes, err := changesOf(asJSON, "", edit)
	if err != nil || len(changes) == 0 {
		return raw, err
	}
	edited, err := d.apply(asJSON, changes)
	if err != nil {
		return raw, fmt.Errorf("document at line %d: %w", d.line, err)
	}
	if d.marker != "" {
		edited = d.marker + "\n" + edited
	}
	return edited, nil
}

// changesOf asks edit about an object, or about each of a List.
func changesOf(object []byte, at string, edit func(Target) (*corev1.Pod, error)) ([]change, error) {
	var m manifest
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, fmt.Errorf("%s: no Kubernetes object: %s", whole(at), mistyped(err))
	}
	if strings.HasSuffix(m.Kind, "List") && m.Items != nil {
		var changes []change
		var errs []error
		for i, item := range m.Items {
			more, err := changesOf(item, at+"/items/"+strconv.Itoa(i), edit)
			changes, errs = append(changes, more...), append(errs, err)
		}
		return changes, errors.Join(errs...)
	}
	t := Target{Kind: m.Kind, Namespace: m.Metadata.Namespace, Name: m.Metadata.Name}
	if t.Name == "" && m.Metadata.GenerateName != "" {
		t.Name = m.Metadata.GenerateName + "*"
	}
	path, hasPods := templatePath(m.Kind)
	if hasPods {
		template, err := inside(object, path)
		if err == nil {
			t.Pod = &corev1.Pod{}
			err = json.Unmarshal(template, t.Pod)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: no pod is in %s: %s", t, whole(path), mistyped(err))
		}
	}
	after, err := edit(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if after == nil || after == t.Pod {
		return nil, nil
	}
	return []change{{path: at + path, ops: Diff(t.Pod, after)}}, nil
}

func whole(path string) string {
	if path == "" {
		return "the document"
	}
	return strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")
}

// inside gives the JSON at path, of names only.
func inside(object []byte, path string) ([]byte, error) {
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if name == "" {
			break
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(object, &fields); err != nil {
			return nil, err
		}
		if object = fields[name]; object == nil {
			return nil, fmt.Errorf("%s is missing", name)
		}
	}
	return object, nil
}

// apply gives the text of the document with the changes.
func (d *document) apply(asJSON []byte, changes []change) (string, error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(d.text), &root); err != nil {
		return "", err
	}
	if shares(&root) {
		// What is written once and used twice cannot be changed in one place: write it out.
		plain, err := k8syaml.JSONToYAML(asJSON)
		if err != nil {
			return "", err
		}
		if err := yaml.Unmarshal(plain, &root); err != nil {
			return "", err
		}
	}
	for _, c := range changes {
		for _, op := range c.ops {
			if err := applyTo(&root, c.path, op); err != nil {
				return "", err
			}
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if !indentsLists(&root) {
		enc.CompactSeqIndent()
	}
	if err := errors.Join(enc.Encode(&root), enc.Close()); err != nil {
		return "", err
	}
	if strings.HasPrefix(strings.TrimSpace(d.text), "{") && json.Valid([]byte(d.text)) {
		return toJSON(out.Bytes())
	}
	return out.String(), nil
}

// toJSON keeps a JSON document JSON.
func toJSON(text []byte) (string, error) {
	plain, err := k8syaml.YAMLToJSON(text)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, plain, "", "  "); err != nil {
		return "", err
	}
	out.WriteByte('\n')
	return out.String(), nil
}

// shares reports whether a node is used by an alias or merged into another.
func shares(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Tag == "!!merge" || slices.ContainsFunc(n.Content, shares)
}

// indentsLists reports whether the first list inside a mapping is indented.
func indentsLists(n *yaml.Node) bool {
	var found, indented bool
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		for i, child := range n.Content {
			if found {
				return
			}
			if n.Kind == yaml.MappingNode && i%2 == 1 && child.Kind == yaml.SequenceNode && child.Style&yaml.FlowStyle == 0 {
				found, indented = true, child.Column > n.Content[i-1].Column
				return
			}
			walk(child)
		}
	}
	walk(n)
	return indented
}

// applyTo does one step of a patch below path. Parents that are missing, or null, become mappings.
func applyTo(root *yaml.Node, path string, op Operation) error {
	steps := strings.Split(strings.TrimPrefix(path+op.Path, "/"), "/")
	node := root.Content[0]
	var parent *yaml.Node
	for _, step := range steps[:len(steps)-1] {
		next, err := child(node, unescape(step))
		if err != nil {
			return fmt.Errorf("%s%s: %w", path, op.Path, err)
		}
		parent, node = node, next
	}
	value, err := valueNode(op.Value)
	if err != nil {
		return err
	}
	last := unescape(steps[len(steps)-1])
	if node.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(last)
		if err != nil || i < 0 || i > len(node.Content) || op.Op == "remove" && i == len(node.Content) {
			return fmt.Errorf("%s%s: the list has %d elements", path, op.Path, len(node.Content))
		}
		if op.Op == "remove" {
			node.Content = slices.Delete(node.Content, i, i+1)
		} else {
			node.Content = slices.Insert(node.Content, i, value)
		}
		return nil
	}
	setKey(node, last, op, value)
	if op.Op == "remove" && op.Path == "/metadata/annotations" && len(node.Content) == 0 {
		setKey(parent, "metadata", op, nil) // it was put there for the annotations
	}
	return nil
}

func unescape(step string) string {
	return strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
}

// child gives what node holds under a key or at an index.
func child(node *yaml.Node, step string) (*yaml.Node, error) {
	if node.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(node.Content) {
			return nil, fmt.Errorf("the list has %d elements", len(node.Content))
		}
		return node.Content[i], nil
	}
	if node.Kind != yaml.MappingNode {
		*node = yaml.Node{Kind: yaml.MappingNode, HeadComment: node.HeadComment, LineComment: node.LineComment, FootComment: node.FootComment}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == step {
			return node.Content[i+1], nil
		}
	}
	fresh := &yaml.Node{Kind: yaml.MappingNode}
	node.Content = append(node.Content, keyNode(step), fresh)
	return fresh, nil
}

// setKey adds, replaces or removes one key of a mapping.
func setKey(node *yaml.Node, key string, op Operation, value *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		*node = yaml.Node{Kind: yaml.MappingNode}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch {
		case node.Content[i].Value != key:
		case op.Op == "remove":
			node.Content = slices.Delete(node.Content, i, i+2)
			return
		default:
			node.Content[i+1] = value
			return
		}
	}
	if op.Op != "remove" {
		node.Content = append(node.Content, keyNode(key), value)
	}
}

func keyNode(key string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
}

// valueNode writes a Go value as Kubernetes does in JSON, in the style of YAML.
func valueNode(value any) (*yaml.Node, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // a removal has no value
	}
	written, err := compact(value)
	if err != nil {
		return nil, err
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(written), &n); err != nil {
		return nil, err
	}
	block(n.Content[0])
	return n.Content[0], nil
}

// block drops the style of JSON: braces and quotes where YAML needs none.
func block(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}
