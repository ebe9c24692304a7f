package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mesh is what the manifests are of: one cluster's part of it.
type mesh struct {
	dir                 string
	services, endpoints int
	// cluster is 0 for the control plane's own. All clusters have Services of the same names, each with pods of its own.
	cluster int
}

// maxClusters is for how many clusters there are addresses: each has blocks of its own below 10.128.0.0.
const (
	maxClusters  = 6
	blocks       = 20 // each of 250 Services
	mostServices = 250 * blocks
)

// clusterName is what a cluster is called.
func clusterName(i int) string { return fmt.Sprintf("cluster-%d", i) }

// namespaces is over how many the Services are spread.
const namespaces = 20

func serviceIP(i int) string { return fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250) }

func (m *mesh) podIP(i, e int) string {
	return fmt.Sprintf("10.%d.%d.%d", 1+m.cluster*blocks+i/250, i%250, 1+e)
}

// write makes the manifests: a file for the Service and pods of each, another one for its endpoints.
func (m *mesh) write() error {
	for i := range m.services {
		dir := filepath.Join(m.dir, fmt.Sprintf("ns-%d", i%namespaces))
		if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // below our own directory, as the next ones
			return err
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata: {name: svc-%d, namespace: ns-%d}\nspec: {clusterIP: %s, clusterIPs: [%s], selector: {app: svc-%d}, ports: [{name: http, port: 80}]}\n",
			i, i%namespaces, serviceIP(i), serviceIP(i), i)
		for e := range m.endpoints {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: svc-%d-6d4cf56db6-%05d, namespace: ns-%d, labels: {app: svc-%d, version: v1, pod-template-hash: 6d4cf56db6}}\n"+
				"spec: {serviceAccountName: svc-%d, nodeName: node-%d, containers: [{name: app, image: app}]}\nstatus: {phase: Running, podIP: %s, podIPs: [{ip: %s}], conditions: [{type: Ready, status: \"True\"}]}\n",
				i, e, i%namespaces, i, i, e, m.podIP(i, e), m.podIP(i, e))
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("svc-%d.yaml", i)), b.Bytes(), 0o600); err != nil { //nolint:gosec // as above
			return err
		}
		if err := m.change(i, 0); err != nil {
			return err
		}
	}
	return nil
}

// change replaces the endpoints of a Service; the last of them has an address that says which event it was, 0 for none.
func (m *mesh) change(i, event int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: svc-%d-x7k2p, namespace: ns-%d, labels: {kubernetes.io/service-name: svc-%d}}\naddressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n",
		i, i%namespaces, i)
	for e := range m.endpoints - 1 {
		fmt.Fprintf(&b, "- {addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, name: svc-%d-6d4cf56db6-%05d, namespace: ns-%d}}\n", m.podIP(i, e), i, e, i%namespaces)
	}
	if event > 0 {
		fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}}\n", marked+event>>16, event>>8&255, event&255)
	}
	dir := filepath.Join(m.dir, fmt.Sprintf("ns-%d", i%namespaces))
	next := filepath.Join(dir, ".next")
	if err := os.WriteFile(next, []byte(b.String()), 0o600); err != nil { //nolint:gosec // as above
		return err
	}
	return os.Rename(next, filepath.Join(dir, fmt.Sprintf("svc-%d-endpoints.yaml", i))) //nolint:gosec // as above
}

// marked is the second number of addresses that say which event they are of; those of pods are below.
const marked = 128

// eventOf is change's counterpart.
func eventOf(a [4]byte) int {
	if a[1] < marked {
		return 0
	}
	return int(a[1]-marked)<<16 | int(a[2])<<8 | int(a[3])
}
