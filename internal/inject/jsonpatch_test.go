package inject_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// applyPatch is a JSON patch (RFC 6902) as the API server applies it: add, remove and replace, and no mercy for paths
// that do not exist.
func applyPatch(doc map[string]any, patch []byte) (map[string]any, error) {
	var ops []struct {
		Op, Path string
		Value    json.RawMessage
	}
	if err := json.Unmarshal(patch, &ops); err != nil {
		return nil, err
	}
	root := any(doc)
	for _, op := range ops {
		var value any
		if op.Op != "remove" {
			if err := json.Unmarshal(op.Value, &value); err != nil {
				return nil, fmt.Errorf("%s %s: %w", op.Op, op.Path, err)
			}
		}
		steps := strings.Split(op.Path, "/")
		if steps[0] != "" || len(steps) < 2 {
			return nil, fmt.Errorf("%q is no pointer into the object", op.Path)
		}
		var err error
		if root, err = applyStep(root, steps[1:], op.Op, value); err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Op, op.Path, err)
		}
	}
	return root.(map[string]any), nil
}

var errNoSuchPath = errors.New("no such path")

func applyStep(node any, steps []string, op string, value any) (any, error) {
	step := strings.ReplaceAll(strings.ReplaceAll(steps[0], "~1", "/"), "~0", "~")
	switch n := node.(type) {
	case map[string]any:
		child, there := n[step]
		if !there && (len(steps) > 1 || op != "add") {
			return nil, errNoSuchPath
		}
		if len(steps) > 1 {
			changed, err := applyStep(child, steps[1:], op, value)
			n[step] = changed
			return n, err
		}
		if op == "remove" {
			delete(n, step)
		} else {
			n[step] = value
		}
		return n, nil
	case []any:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i > len(n) || i == len(n) && (op != "add" || len(steps) > 1) {
			return nil, errNoSuchPath
		}
		switch {
		case len(steps) > 1:
			n[i], err = applyStep(n[i], steps[1:], op, value)
			return n, err
		case op == "add":
			return slices.Insert(n, i, value), nil
		case op == "remove":
			return slices.Delete(n, i, i+1), nil
		}
		n[i] = value
		return n, nil
	}
	return nil, errNoSuchPath
}
