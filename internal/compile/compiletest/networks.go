package compiletest

// TwoNetworks are pods of a Service in two networks, all of which but the last have a sidecar: one in net1; two, three and plain in
// net2. [GatewayOfNet2] makes that a separate one.
const TwoNetworks = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints:
- {addresses: [10.0.1.1], targetRef: {kind: Pod, name: one, namespace: myapp}}
- {addresses: [10.0.2.1], targetRef: {kind: Pod, name: two, namespace: myapp}}
- {addresses: [10.0.2.2], targetRef: {kind: Pod, name: three, namespace: myapp}}
- {addresses: [10.0.2.3], targetRef: {kind: Pod, name: plain, namespace: myapp}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: myapp, labels: {topology.istio.io/network: net1}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.1.1}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: myapp, labels: {topology.istio.io/network: net2, version: v1}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: three, namespace: myapp, labels: {topology.istio.io/network: net2, version: v2}, annotations: {fairlead.dev/status: injected}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.2}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: myapp, labels: {topology.istio.io/network: net2, version: v1}}
spec: {containers: [{name: app, image: app}]}
status: {podIP: 10.0.2.3}
`

// GatewayOfNet2 is where others call net2: two addresses, behind which there always is somebody.
const GatewayOfNet2 = `
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: net, labels: {topology.istio.io/network: net2}}
spec: {clusterIP: 10.96.0.6, externalIPs: [192.0.2.2], ports: [{name: tls, port: 15443}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
`
