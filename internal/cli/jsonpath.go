package cli

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/util/jsonpath"
)

// jsonPath begins the form of output of which kubectl's JSONPath template chooses parts.
const jsonPath = "jsonpath="

// isData reports whether an output is for programs.
func isData(output string) bool {
	return output == "json" || output == "yaml" || strings.HasPrefix(output, jsonPath)
}

// parsePath reads the template of an output, as kubectl does: what is not there prints nothing.
func parsePath(output string) (*jsonpath.JSONPath, error) {
	template := strings.TrimPrefix(output, jsonPath)
	path := jsonpath.New("output").AllowMissingKeys(true)
	if err := path.Parse(template); err != nil {
		return nil, fmt.Errorf("jsonpath %q: %w", template, err)
	}
	return path, nil
}

// printPath prints what a template chooses of a JSON document.
func printPath(w io.Writer, output string, data []byte) error {
	path, err := parsePath(output)
	if err != nil {
		return err
	}
	var document any
	if err := json.Unmarshal(data, &document); err != nil { // integers stay integers, so that filters compare them
		return err
	}
	if err := path.Execute(w, document); err != nil {
		return fmt.Errorf("%s: %w", output, err)
	}
	return nil
}
