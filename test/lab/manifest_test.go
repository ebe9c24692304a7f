package lab_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

// app is a Deployment of the demo app in namespace shop, with a service account of its own name.
type app struct {
	name, version string
	replicas      int
	args          string // flow sequence items, such as `--tcp, "9000"`
	labels        string // flow mapping items beside app and version
	annotations   string // flow mapping items
	ports         string // flow sequence items beside web
	notProbed     bool
	bare          bool // without sidecar
}

// unquoted numbers in args would be refused, as by Kubernetes.
func (a app) String() string {
	if a.version == "" {
		a.version = "v1"
	}
	name := a.name + "-" + a.version
	args := []string{"--name", a.name, "--version", a.version}
	if a.args != "" {
		args = append(args, a.args)
	}
	labels := fmt.Sprintf("app: %s, version: %s", a.name, a.version)
	if a.labels != "" {
		labels += ", " + a.labels
	}
	annotations := a.annotations
	if a.bare {
		annotations = strings.Trim(annotations+", "+unmeshed, ", ")
	}
	ports := "{name: web, containerPort: 8080}"
	if a.ports != "" {
		ports += ", " + a.ports
	}
	// An app that says no is not ready at once; one that is slow, because the machine is busy, still is.
	probe := "readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 10}"
	if a.notProbed {
		probe = ""
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: shop}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[3]s, version: %[4]s}}
  template:
    metadata:
      labels: {%[5]s}
      annotations: {%[6]s}
    spec:
      serviceAccountName: %[3]s
      terminationGracePeriodSeconds: 10
      containers:
      - name: app
        image: fairlead.dev/demo-app
        args: [%[7]s]
        ports: [%[8]s]
        %[9]s
---`, name, a.replicas, a.name, a.version, labels, annotations, strings.Join(args, ", "), ports, probe)
}

// service is a Service of namespace shop; more is added to its spec, one line each.
func service(name, ip, selector, ports string, more ...string) string {
	spec := []string{"selector: {" + selector + "}", "ports: [" + ports + "]"}
	if ip != "" {
		spec = append(spec, "clusterIP: "+ip)
	}
	spec = append(spec, more...)
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop}
spec:
  %s
---`, name, strings.Join(spec, "\n  "))
}

// http80 is a port 80 that leads to the container's port "web".
const http80 = "{name: http, port: 80, targetPort: web}"

// object is any object of namespace shop; its spec is indented by the caller with two spaces.
// unmeshed is the annotation of a pod without a sidecar.
const unmeshed = `fairlead.dev/inject: "false"`

// pythonPod is a pod of namespace shop that runs a program in Python.
type pythonPod struct {
	name, program string
	args          []string
	annotations   string // flow mapping items
	container     string // another line of the container
}

func (s pythonPod) String() string {
	command, _ := json.Marshal(append([]string{"python3", "-c", s.program}, s.args...)) // strings always can be
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}, annotations: {%[2]s}}
spec:
  containers:
  - name: app
    image: python
    command: %[3]s
    %[4]s
---`, s.name, s.annotations, command, s.container)
}

func object(apiVersion, kind, name, spec string) string {
	return fmt.Sprintf("\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: shop}\nspec:\n%s\n---", apiVersion, kind, name, strings.Trim(spec, "\n"))
}

func virtualService(name, spec string) string {
	return object("networking.istio.io/v1", "VirtualService", name, "  hosts: ["+name+"]\n"+strings.Trim(spec, "\n"))
}

// subsets is a DestinationRule with v1 and v2.
func subsets(name string) string {
	return object("networking.istio.io/v1", "DestinationRule", name, `
  host: `+name+`
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}`)
}
