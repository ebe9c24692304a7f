package apiserver

import (
	"net/url"
	"strings"
)

// Path is the path of an object, of a list where name is empty, and of a cluster-wide list or object where namespace
// is. prefix is "/api/v1" or "/apis/GROUP/VERSION".
func Path(prefix, namespace, resource, name string) string {
	var b strings.Builder
	b.WriteString(prefix)
	if namespace != "" {
		b.WriteString("/namespaces/" + url.PathEscape(namespace))
	}
	b.WriteString("/" + resource)
	if name != "" {
		b.WriteString("/" + url.PathEscape(name))
	}
	return b.String()
}
