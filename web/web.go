// Package web holds the page of the dashboard as it is built, for the fairlead command to serve: every file of it
// compressed, under its name with ".gz" behind it. How it is built is in package.json.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files are those of the page, "index.html.gz" and what it asks for.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name above is a directory's
	}
	return files
}
