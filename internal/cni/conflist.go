package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Extensions of the files in which runtimes look for a network configuration: a list of plugins, or one plugin.
const (
	extList   = ".conflist"
	extSingle = ".conf"
	extJSON   = ".json"
)

// member is the plugin's entry in a list.
type member struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	// Kubeconfig, ExcludeNamespaces and LogFile are as in netConf. Paths are the host's.
	Kubeconfig        string   `json:"kubeconfig,omitempty"`
	ExcludeNamespaces []string `json:"excludeNamespaces,omitempty"`
	LogFile           string   `json:"logFile,omitempty"`
}

// newMember asks the runtime for the pod's annotations, so that the API server need not be asked.
func newMember() member {
	return member{Type: Name, Capabilities: map[string]bool{"io.kubernetes.cri.pod-annotations": true}}
}

// object is a JSON object whose values are kept as they were written.
type object map[string]json.RawMessage

func (o object) text(key string) string {
	var s string
	if json.Unmarshal(o[key], &s) != nil {
		return ""
	}
	return s
}

func (o object) isOurs() bool { return o.text("type") == Name }

// parseList reads the content of a .conflist, and accepts what a runtime accepts: a name and at least one plugin are
// needed.
func parseList(content []byte) (list object, plugins []object, err error) {
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(list["plugins"], &plugins); err != nil || len(plugins) == 0 {
		return nil, nil, errors.New("no list of plugins")
	}
	for i, p := range plugins {
		if p.text("type") == "" {
			return nil, nil, fmt.Errorf("plugin %d has no type", i)
		}
	}
	if list.text("name") == "" {
		return nil, nil, errors.New("no name")
	}
	return list, plugins, nil
}

// parseSingle reads the content of a .conf or .json file.
func parseSingle(content []byte) (object, error) {
	var conf object
	if err := json.Unmarshal(content, &conf); err != nil {
		return nil, err
	}
	if conf.text("type") == "" {
		return nil, errors.New("no type")
	}
	if conf.text("name") == "" {
		return nil, errors.New("no name")
	}
	return conf, nil
}

// insert puts the plugin at the end of a list, or in the place of its earlier entry, so that what others have put
// behind it stays there. Content that has the entry already is given back as it is.
func insert(content []byte, entry member) ([]byte, error) {
	list, plugins, err := parseList(content)
	if err != nil {
		return nil, err
	}
	if err := chains(list); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(plugins, object.isOurs)
	if at >= 0 && sameJSON(plugins[at], raw) && !slices.ContainsFunc(plugins[at+1:], object.isOurs) {
		return content, nil
	}
	var ours object
	if err := json.Unmarshal(raw, &ours); err != nil {
		return nil, err
	}
	if at < 0 {
		at = len(plugins)
	}
	rest := slices.DeleteFunc(slices.Clone(plugins[at:]), object.isOurs)
	return encodeList(list, slices.Concat(plugins[:at], []object{ours}, rest))
}

// chains checks that a list's version has chained plugins.
func chains(list object) error {
	if v := list.text("cniVersion"); !slices.Contains(versions[:], v) {
		return fmt.Errorf("cniVersion %q: %s can be added to configurations of version %s", v, Name, strings.Join(versions[:], ", "))
	}
	return nil
}

// sameJSON reports whether p says the same as raw; keys may be in any order.
func sameJSON(p object, raw []byte) bool {
	var a, b any
	encoded, err := json.Marshal(p)
	if err != nil || json.Unmarshal(encoded, &a) != nil || json.Unmarshal(raw, &b) != nil {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// convert makes a list of a single plugin's configuration.
func convert(content []byte) ([]byte, error) {
	conf, err := parseSingle(content)
	if err != nil {
		return nil, err
	}
	list := object{"name": conf["name"]}
	if v, ok := conf["cniVersion"]; ok {
		list["cniVersion"] = v
	}
	return encodeList(list, []object{conf})
}

// remove takes the plugin out of a list. It reports whether it was there.
func remove(content []byte) (without []byte, was bool, err error) {
	list, plugins, err := parseList(content)
	if err != nil {
		return nil, false, err
	}
	rest := slices.DeleteFunc(slices.Clone(plugins), object.isOurs)
	if len(rest) == len(plugins) {
		return content, false, nil
	}
	if len(rest) == 0 {
		return nil, true, errors.New("no other plugin is in the list")
	}
	without, err = encodeList(list, rest)
	return without, true, err
}

// encodeList writes a list with its plugins. Keys are sorted; values stay as they were, but for white space.
func encodeList(list object, plugins []object) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(plugins); err != nil {
		return nil, err
	}
	out := make(object, len(list))
	maps.Copy(out, list)
	out["plugins"] = bytes.Clone(bytes.TrimSpace(b.Bytes()))
	b.Reset()
	e.SetIndent("", "  ")
	err := e.Encode(out)
	return b.Bytes(), err
}
