// Command dashgen writes the dashboards of the chart, JSON as Grafana imports it, from the tables in this package: rows of
// panels, each with its queries. `go generate ./deploy` after a change there, and a test finds where that was forgotten.
// Every query is asked of a real Prometheus by `make prometheus`.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "chart/files/dashboards", "`DIRECTORY` to write to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "dashgen:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // a directory of the repository
		return err
	}
	files, err := generate()
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil { //nolint:gosec // a file of the repository
			return err
		}
	}
	return nil
}

// generate gives the files to write, by name.
func generate() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range []dashboard{mesh(), workload(), controlPlane()} {
		content, err := d.json()
		if err != nil {
			return nil, err
		}
		files[d.name+".json"] = content
	}
	return files, nil
}
