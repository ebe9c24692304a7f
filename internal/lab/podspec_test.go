package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// parseTemplate reads the spec of a pod template.
func parseTemplate(t *testing.T, text string) *corev1.PodTemplateSpec {
	t.Helper()
	out := &corev1.PodTemplateSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func testSource(template *corev1.PodTemplateSpec) podSource {
	return podSource{
		key: model.Key{Namespace: "shop", Name: "web-1"}, template: template, node: "n1", inject: true, rootful: true,
		addrs: podAddrs{v4: netip.MustParseAddr("10.244.0.9"), v6: netip.MustParseAddr("fd00:10:244::9")}, environ: []string{"PATH=/bin", "HOME=/root"},
	}
}

func TestNewPodSpec(t *testing.T) {
	p, err := newPodSpec(testSource(parseTemplate(t, `
metadata:
  labels: {app: web}
  annotations: {"traffic.sidecar.istio.io/excludeOutboundPorts": "3306,6379"}
spec:
  serviceAccountName: seller
  containers:
  - name: app
    image: registry.example:5000/app:1
    command: [serve, "--as=$(NAME)", "$(UNKNOWN)", "$$(NAME)"]
    args: ["$(IPS)"]
    workingDir: /srv
    securityContext: {runAsUser: 1000}
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    - {name: BOTH, value: "$(NAME)/$(APP)"}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    ports: [{name: web, containerPort: 8080}]
    readinessProbe: {httpGet: {path: ok, port: web}}
`)))
	if err != nil {
		t.Fatal(err)
	}
	c := p.containers[0]
	if diff := cmp.Diff([]string{"serve", "--as=web-1", "$(UNKNOWN)", "$(NAME)", "10.244.0.9,fd00:10:244::9"}, c.run.argv); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	want := []string{
		"ACCOUNT=seller", "APP=web", "BOTH=web-1/web", "HOME=/root", "HOSTNAME=web-1", "IPS=10.244.0.9,fd00:10:244::9", "NAME=web-1",
		"PATH=/bin:" + runDir + "/bin",
	}
	if diff := cmp.Diff(want, c.run.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if c.run.uid != 1000 || c.run.dir != "/srv" {
		t.Errorf("uid %d, directory %q", c.run.uid, c.run.dir)
	}
	if r := c.readiness; r.url != "http://10.244.0.9:8080/ok" || r.period != 10*time.Second || r.failures != 3 || !r.eager {
		t.Errorf("readiness probe %+v", r)
	}
	if !p.injected || p.serviceAccount != "seller" || p.grace != 30*time.Second {
		t.Errorf("pod %+v", p)
	}
	m := (&node{cfg: config{Rootful: true}}).meshCommands(&p)
	if all := strings.Join(m.init.argv, " "); !strings.Contains(all, "--uid 1337 --exclude-outbound-ports 3306,6379") {
		t.Errorf("init command %s", all)
	}
	if m.run.run.uid != sidecarUID || strings.Contains(strings.Join(m.run.run.argv, " "), "--mark") {
		t.Errorf("sidecar command %+v", m.run.run)
	}
	if p.sidecarEnv, _ = sidecarEnv(map[string]string{"fairlead.dev/proxy-memory-limit": "64Mi"}); !slices.Contains(p.sidecarEnv, "GOMEMLIMIT=60397974") {
		t.Errorf("environment of a sidecar with 64 MiB: %q", p.sidecarEnv)
	}
	m = (&node{}).meshCommands(&p)
	if !slices.Contains(m.run.run.env, p.sidecarEnv[0]) {
		t.Errorf("environment of the sidecar: %q", m.run.run.env)
	}
	if all := strings.Join(m.run.run.argv, " "); !strings.HasSuffix(all, "--mark "+sidecarMark) || m.run.run.uid != 0 {
		t.Errorf("sidecar command without root %s", all)
	}
}

func TestNewPodSpecRefuses(t *testing.T) {
	for _, tt := range []struct{ name, template, want string }{
		{"no_containers", `spec: {containers: []}`, "spec.containers is empty"},
		{
			"no_amount_of_memory", `{metadata: {annotations: {fairlead.dev/proxy-memory-limit: much}}, spec: {containers: []}}`,
			`annotation fairlead.dev/proxy-memory-limit: "much" is no amount of memory; write 64Mi`,
		},
		{"an_image_without_command", `spec: {containers: [{name: a, image: "nginx:1"}]}`, `container "a": image "nginx:1" has no command`},
		{
			"an_unknown_field", `spec: {containers: [{name: a, image: x, command: [b], env: [{name: E, valueFrom: {fieldRef: {fieldPath: spec.x}}}]}]}`,
			`container "a": env E: fieldPath "spec.x" is unknown`,
		},
		{
			"a_secret_that_is_not_there", `spec: {containers: [{name: a, image: x, command: [b], env: [{name: E, valueFrom: {secretKeyRef: {name: none, key: k}}}]}]}`,
			`container "a": env E: there is no Secret none in the namespace of the pod`,
		},
		{
			"a_key_that_is_not_there", `spec: {containers: [{name: a, image: x, command: [b], env: [{name: E, valueFrom: {configMapKeyRef: {name: c, key: none}}}]}]}`,
			`container "a": env E: ConfigMap c has no key "none"`,
		},
		{
			"a_config_map_that_is_not_there", `spec: {containers: [{name: a, image: x, command: [b], envFrom: [{configMapRef: {name: none}}]}]}`,
			`container "a": envFrom[0]: there is no ConfigMap none`,
		},
		{
			"files", `spec: {containers: [{name: a, image: x, command: [b], env: [{name: E, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}]}]}`,
			"only valueFrom.fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef work in the lab",
		},
		{
			"resources", `spec: {containers: [{name: a, image: x, command: [b], env: [{name: E, valueFrom: {resourceFieldRef: {resource: cpu}}}]}]}`,
			`resourceFieldRef.resource "cpu" is not limits.NAME or requests.NAME`,
		},
		{
			"a_probe_of_a_missing_port", `spec: {containers: [{name: a, image: x, command: [b], readinessProbe: {tcpSocket: {port: web}}}]}`,
			`probe port "web" is no name of a port of the container`,
		},
		{
			"a_grpc_probe", `spec: {containers: [{name: a, image: x, command: [b], livenessProbe: {grpc: {port: 1}}}]}`,
			"a probe needs httpGet, tcpSocket or exec",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := testSource(parseTemplate(t, tt.template))
			src.data = testData
			_, err := newPodSpec(src)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("newPodSpec() = %v, want %q", err, tt.want)
			}
		})
	}
}

// testData is a ConfigMap c and a Secret s.
func testData(kind, name string) (content, bool) {
	return dataOf(map[string]any{
		"ConfigMap/c": &corev1.ConfigMap{Data: map[string]string{"COLOUR": "green", "SIZE": "1", "no=name": "x"}},
		"Secret/s":    &corev1.Secret{Data: map[string][]byte{"KEY": []byte("old")}, StringData: map[string]string{"KEY": "k1", "other": "$(COLOUR)"}},
	}[kind+"/"+name])
}

// Variables out of ConfigMaps and Secrets, in Kubernetes' order: what envFrom gives may be referred to, and be replaced.
func TestVariablesOfData(t *testing.T) {
	src := testSource(parseTemplate(t, `
spec:
  containers:
  - name: app
    image: any
    command: [serve, "--colour=$(COLOUR)"]
    envFrom:
    - {configMapRef: {name: c}}
    - {prefix: S_, secretRef: {name: s}}
    - {configMapRef: {name: none, optional: true}}
    env:
    - {name: SIZE, value: "2"}
    - {name: KEY, valueFrom: {secretKeyRef: {name: s, key: KEY}}}
    - {name: BOTH, value: "$(COLOUR)-$(KEY)"}
    - {name: ABSENT, valueFrom: {configMapKeyRef: {name: c, key: none, optional: true}}}
    - {name: GONE, valueFrom: {secretKeyRef: {name: none, key: KEY, optional: true}}}
`))
	src.data = testData
	p, err := newPodSpec(src)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"BOTH=green-k1", "COLOUR=green", "HOME=/root", "HOSTNAME=web-1", "KEY=k1", "PATH=/bin:" + runDir + "/bin", "SIZE=2", "S_KEY=k1", "S_other=$(COLOUR)",
	}
	if diff := cmp.Diff(want, p.containers[0].run.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if got := p.containers[0].run.argv[1]; got != "--colour=green" {
		t.Errorf("argument %q", got)
	}
}

func TestHostsFile(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"plain", "", "10.244.0.9\tweb-1\nfd00:10:244::9\tweb-1\n"},
		{"of_a_subdomain", "subdomain: db, ", "10.244.0.9\tweb-1.db.shop.svc.cluster.local\tweb-1\nfd00:10:244::9\tweb-1.db.shop.svc.cluster.local\tweb-1\n"},
		{
			"with_aliases", "hostAliases: [{ip: 192.0.2.1, hostnames: [a.example.com, b]}, {ip: '2001:db8::1', hostnames: [c]}], ",
			"10.244.0.9\tweb-1\nfd00:10:244::9\tweb-1\n192.0.2.1\ta.example.com\tb\n2001:db8::1\tc\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPodSpec(testSource(parseTemplate(t, "spec: {"+tt.spec+"containers: [{name: a, image: x, command: [b]}]}")))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"+tt.want, hostsFile(&p)); diff != "" {
				t.Errorf("hosts file (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContainerCommandKnowsTheDemoImage(t *testing.T) {
	for _, image := range []string{"fairlead.dev/demo-app", "fairlead.dev/demo-app:v2", "fairlead.dev/demo-app@sha256:00"} {
		argv, err := containerCommand(&corev1.Container{Image: image, Args: []string{"--tcp", "9000"}}, nil)
		if err != nil || strings.Join(argv[1:], " ") != "demo-app --tcp 9000" {
			t.Errorf("containerCommand(%s) = %q, %v", image, argv, err)
		}
	}
}

func TestInjected(t *testing.T) {
	for _, tt := range []struct {
		name                string
		labels, annotations map[string]string
		byDefault, want     bool
	}{
		{"default", nil, nil, true, true},
		{"annotation", nil, map[string]string{"fairlead.dev/inject": "false"}, true, false},
		{"label", map[string]string{"fairlead.dev/inject": "false"}, nil, true, false},
		{"istio_label", map[string]string{"sidecar.istio.io/inject": "false"}, nil, true, false},
		{"pod_over_namespace", map[string]string{"fairlead.dev/inject": "true"}, nil, false, true},
		{"own_over_istio", map[string]string{"sidecar.istio.io/inject": "true", "fairlead.dev/inject": "false"}, nil, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := injected(tt.labels, tt.annotations, tt.byDefault); got != tt.want {
				t.Errorf("injected() = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	p := &probe{period: time.Second, failures: 2, successes: 2}
	var v tally
	for i, step := range []struct{ ok, passed, failed bool }{
		{true, false, false},
		{true, true, false},
		{false, true, false},
		{true, true, false},
		{false, true, false},
		{false, false, true},
		{true, false, true},
		{true, true, false},
	} {
		v.add(p, step.ok)
		if v.passed != step.passed || v.failed != step.failed {
			t.Errorf("step %d: passed %v, failed %v, want %v, %v", i, v.passed, v.failed, step.passed, step.failed)
		}
	}
}

func TestVerdictHurriesWithoutShorteningTheThreshold(t *testing.T) {
	p := &probe{period: time.Second, failures: 3, successes: 1, eager: true}
	var v tally
	var elapsed time.Duration
	tries := 0
	for ; !v.failed; tries++ {
		v.add(p, false)
		elapsed += v.pause(p)
	}
	if elapsed < 3*p.period || tries < 5 {
		t.Errorf("failed after %v and %d tries, want at least three periods and many tries", elapsed, tries)
	}
	v.add(p, true)
	if !v.passed || v.pause(p) != p.period {
		t.Errorf("after a pass: passed %v, pause %v", v.passed, v.pause(p))
	}
}

func TestProbePort(t *testing.T) {
	ports := []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
	for _, tt := range []struct {
		name string
		port intstr.IntOrString
		want uint16
	}{
		{"number", intstr.FromInt32(81), 81},
		{"name", intstr.FromString("web"), 8080},
		{"number_as_text", intstr.FromString("82"), 82},
		{"zero", intstr.FromInt32(0), 0},
		{"too_large", intstr.FromInt32(70000), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := probePort(tt.port, ports)
			if got != tt.want || (err == nil) != (tt.want != 0) {
				t.Errorf("probePort() = %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

func TestServiceEnv(t *testing.T) {
	src := testSource(parseTemplate(t, `
spec:
  containers:
  - name: app
    image: any
    command: [serve, "$(USERS_SERVICE_SERVICE_HOST)"]
    env:
    - {name: URL, value: "http://$(USERS_SERVICE_SERVICE_HOST):$(USERS_SERVICE_SERVICE_PORT)"}
    - {name: DB_PORT, value: "7000"}
`))
	service := func(name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		svc := &corev1.Service{}
		svc.Name, svc.Spec.ClusterIP, svc.Spec.Ports = name, ip, ports
		return svc
	}
	src.services = []*corev1.Service{
		service("users-service", "10.96.0.7", corev1.ServicePort{Name: "http-api", Port: 8080}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}),
		service("db", "fd00::7", corev1.ServicePort{Port: 5432}),
		service("each", corev1.ClusterIPNone, corev1.ServicePort{Port: 80}),
		service("outside", ""),
	}
	p, err := newPodSpec(src)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"DB_PORT=7000", "DB_PORT_5432_TCP=tcp://[fd00::7]:5432", "DB_PORT_5432_TCP_ADDR=fd00::7", "DB_PORT_5432_TCP_PORT=5432",
		"DB_PORT_5432_TCP_PROTO=tcp", "DB_SERVICE_HOST=fd00::7", "DB_SERVICE_PORT=5432", "HOME=/root", "HOSTNAME=web-1",
		"PATH=/bin:" + runDir + "/bin", "URL=http://10.96.0.7:8080",
		"USERS_SERVICE_PORT=tcp://10.96.0.7:8080",
		"USERS_SERVICE_PORT_53_UDP=udp://10.96.0.7:53", "USERS_SERVICE_PORT_53_UDP_ADDR=10.96.0.7", "USERS_SERVICE_PORT_53_UDP_PORT=53", "USERS_SERVICE_PORT_53_UDP_PROTO=udp",
		"USERS_SERVICE_PORT_8080_TCP=tcp://10.96.0.7:8080", "USERS_SERVICE_PORT_8080_TCP_ADDR=10.96.0.7", "USERS_SERVICE_PORT_8080_TCP_PORT=8080", "USERS_SERVICE_PORT_8080_TCP_PROTO=tcp",
		"USERS_SERVICE_SERVICE_HOST=10.96.0.7", "USERS_SERVICE_SERVICE_PORT=8080", "USERS_SERVICE_SERVICE_PORT_DNS=53", "USERS_SERVICE_SERVICE_PORT_HTTP_API=8080",
	}
	if diff := cmp.Diff(want, p.containers[0].run.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if got := p.containers[0].run.argv[1]; got != "10.96.0.7" {
		t.Errorf("$(USERS_SERVICE_SERVICE_HOST) in a command = %q", got)
	}
	no := false
	src.template.Spec.EnableServiceLinks = &no
	if p, err = newPodSpec(src); err != nil || len(p.containers[0].run.env) != 5 {
		t.Errorf("enableServiceLinks: false gives %q, %v", p.containers[0].run.env, err)
	}
}

func TestIgnoredFields(t *testing.T) {
	template := parseTemplate(t, `
spec:
  hostNetwork: true
  hostPID: true
  volumes: [{name: v, emptyDir: {}}, {name: h, hostPath: {path: /var}}, {name: n, nfs: {server: x, path: /}}, {name: p, projected: {sources: [{clusterTrustBundle: {path: x}}]}}]
  initContainers: [{name: i, image: any, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]
  containers:
  - {name: a, image: any, resources: {limits: {memory: 10Mi}}}
  - {name: b, image: any, volumeMounts: [{name: v, mountPath: /v}], lifecycle: {postStart: {sleep: {seconds: 1}}}}
`)
	ref := model.Ref{Kind: "Job", Key: model.Key{Namespace: "shop", Name: "web"}}
	var got []string
	ttl := int32(1)
	o := source.Object{
		Ref: ref, Value: &batchv1.Job{Spec: batchv1.JobSpec{Template: *template, TTLSecondsAfterFinished: &ttl}},
		Locate: func(string) model.Position { return model.Position{File: "a.yaml", Line: 3} },
	}
	w, _ := newWorkload(ref, o.Value)
	for _, p := range warningsOf(&o, &w) {
		got = append(got, p.String())
	}
	const at = "a.yaml:3: warning: Job shop/web: spec."
	want := []string{
		at + "ttlSecondsAfterFinished: has no effect in the lab",
		at + "template.spec.hostNetwork: has no effect in the lab (the pod gets a network of its own, and no sidecar, as on a node's network)",
		at + "template.spec.hostPID: has no effect in the lab (apps see the processes of the lab)",
		at + "template.spec.volumes[1].hostPath: is this machine's own path (what the pod writes there stays; a path that is not there is an empty directory of the pod)",
		at + "template.spec.volumes[2]: has no effect in the lab (nothing is mounted for it; the lab has emptyDir, configMap, secret, projected, downwardAPI, hostPath and claims)",
		at + "template.spec.volumes[3].projected.sources[0]: has no effect in the lab (the lab has configMap, secret, downwardAPI and serviceAccountToken)",
		at + "template.spec.initContainers[0].volumeMounts[0].mountPropagation: has no effect in the lab",
		at + "template.spec.containers[1].lifecycle.postStart: has no effect in the lab",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if p, err := newPodSpec(testSource(&corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Command: []string{"x"}}}}})); err != nil || p.injected {
		t.Errorf("a pod of its node's network gets a sidecar: %v, %v", p.injected, err)
	}
}
