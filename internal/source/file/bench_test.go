package file

import (
	"fmt"
	"testing"
)

// BenchmarkPut is what one edit of a file with one object costs, schemas being there.
func BenchmarkPut(b *testing.B) {
	r := registryOf(newDecoder())
	k := entryKey{0, "a.yaml"}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		r.put(k, fmt.Appendf(nil, "%s# %d\n", virtualService, i))
		r.flush()
	}
}

// BenchmarkStart is what reading a thousand EndpointSlices costs.
func BenchmarkStart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		r := registryOf(newDecoder())
		for i := range 1000 {
			name := fmt.Sprintf("s-%d", i)
			r.put(entryKey{0, name + ".yaml"}, fmt.Appendf(nil, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a}}
- {addresses: [10.0.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: b}}
`, name))
		}
		r.flush()
	}
}
