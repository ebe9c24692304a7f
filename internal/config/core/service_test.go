package core

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

// read decodes a YAML text into an API type.
func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// lines gives the problems as users see them.
func lines(problems []model.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func equateAddrs() cmp.Option {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
}

func TestService(t *testing.T) {
	origin := model.Ref{Kind: "Service", Key: model.Key{Namespace: "myapp", Name: "users"}}
	base := func(change func(*model.Service)) *model.Service {
		s := &model.Service{
			Key: origin.Key, Origin: origin, Host: "users.myapp.svc.cluster.local", Resolution: model.ResolveSlices,
			Ports: []model.ServicePort{{Name: "http", Port: 80, TargetPort: 80, Protocol: model.HTTP}},
		}
		change(s)
		return s
	}
	const ports = "ports: [{name: http, port: 80}]"
	for _, tt := range []struct {
		name, meta, spec string
		want             *model.Service
		problems         string
	}{
		{
			"cluster_ip", "", ports + ", clusterIP: 10.96.0.7, selector: {app: users}",
			base(func(s *model.Service) {
				s.VIPs, s.Selector = []netip.Prefix{netip.MustParsePrefix("10.96.0.7/32")}, map[string]string{"app": "users"}
			}), "",
		},
		{
			"dual_stack", "", ports + `, clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7, "fd00::7"], type: LoadBalancer`,
			base(func(s *model.Service) {
				s.VIPs = []netip.Prefix{netip.MustParsePrefix("10.96.0.7/32"), netip.MustParsePrefix("fd00::7/128")}
				s.DualStack = true
			}), "",
		},
		{
			"headless_of_both_families", "", ports + ", clusterIP: None, ipFamilies: [IPv6, IPv4]",
			base(func(s *model.Service) { s.Headless, s.DualStack = true, true }), "",
		},
		{
			"headless_not_ready_affinity", "", ports + ", clusterIP: None, publishNotReadyAddresses: true, sessionAffinity: ClientIP",
			base(func(s *model.Service) {
				s.Headless, s.PublishNotReady, s.SessionAffinity, s.AffinityTimeout = true, true, true, 3*time.Hour
			}), "",
		},
		{
			"affinity_for_a_minute", "", ports + ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
			base(func(s *model.Service) { s.SessionAffinity, s.AffinityTimeout = true, time.Minute }), "",
		},
		{
			"a_timeout_of_no_affinity", "", ports + ", sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
			base(func(*model.Service) {}), "",
		},
		{
			"affinity_for_no_time", "", ports + ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}", nil,
			"error: Service myapp/users: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not from 1 to 86400 (the default is 10800, three hours)\n",
		},
		{
			"affinity_for_two_days", "", ports + ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 172800}}", nil,
			"error: Service myapp/users: spec.sessionAffinityConfig.clientIP.timeoutSeconds: 172800 is not from 1 to 86400 (the default is 10800, three hours)\n",
		},
		{
			"an_algorithm", "annotations: {fairlead.dev/load-balancer: PEAK_EWMA}", ports,
			base(func(s *model.Service) { s.LB = model.PeakEWMA }), "",
		},
		{
			"no_algorithm", "annotations: {fairlead.dev/load-balancer: peak-ewma}", ports,
			base(func(*model.Service) {}),
			"warning: Service myapp/users: metadata.annotations[fairlead.dev/load-balancer]: `peak-ewma` is no algorithm: no effect (PEAK_EWMA, LEAST_REQUEST, ROUND_ROBIN or RANDOM)\n",
		},
		{
			"a_bound_of_hashes", "annotations: {fairlead.dev/hash-balance-factor: '125'}", ports,
			base(func(s *model.Service) { s.HashBalance = 125 }), "",
		},
		{
			"no_bound_of_hashes", "annotations: {fairlead.dev/hash-balance-factor: '80'}", ports,
			base(func(*model.Service) {}),
			"warning: Service myapp/users: metadata.annotations[fairlead.dev/hash-balance-factor]: `80` is no percentage of 100 and above: no effect (such as 125, or 0 for no bound)\n",
		},
		{
			"without_address_yet", "", ports, base(func(*model.Service) {}), "",
		},
		{
			"external_name", "", "type: ExternalName, externalName: Users.Example.com., selector: {a: b}",
			base(func(s *model.Service) {
				s.Ports, s.ExternalName, s.Resolution = nil, "users.example.com", model.ResolveDNS
			}), "",
		},
		{
			"external_name_missing", "", "type: ExternalName", nil,
			"error: Service myapp/users: spec.externalName: missing (a Service of type ExternalName names another host)\n",
		},
		{
			"external_name_an_address", "", "type: ExternalName, externalName: 192.0.2.1", nil,
			"error: Service myapp/users: spec.externalName: `192.0.2.1` is an address, not a host name (use a ServiceEntry with this address, or an EndpointSlice)\n",
		},
		{
			"target_ports", "", "ports: [{name: a, port: 1, targetPort: 8080}, {name: b, port: 2, targetPort: web}, {name: c, port: 3, targetPort: 0}, {name: d, port: 4, protocol: UDP}]",
			base(func(s *model.Service) {
				s.Ports = []model.ServicePort{
					{Name: "a", Port: 1, TargetPort: 8080},
					{Name: "b", Port: 2, TargetName: "web"},
					{Name: "c", Port: 3, TargetPort: 3},
					{Name: "d", Port: 4, TargetPort: 4, Protocol: model.UDP},
				}
			}), "",
		},
		{
			"export_to", "annotations: {networking.istio.io/exportTo: 'a, .,a'}, creationTimestamp: '2026-01-31T08:00:00Z', generation: 3", ports,
			base(func(s *model.Service) {
				s.ExportTo, s.ResourceGeneration = []string{"a", "."}, 3
				s.CreatedAt = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
			}), "",
		},
		{
			"export_to_nobody_and_others", "annotations: {networking.istio.io/exportTo: '~,.'}", ports,
			base(func(s *model.Service) { s.ExportTo = []string{"."} }),
			"warning: Service myapp/users: metadata.annotations[networking.istio.io/exportTo]: `~` (no namespace) beside other namespaces has no effect (remove it)\n",
		},
		{
			"internal_traffic_cluster", "", ports + ", internalTrafficPolicy: Cluster", base(func(*model.Service) {}), "",
		},
		{
			"internal_traffic_local", "", ports + ", internalTrafficPolicy: Local",
			base(func(s *model.Service) { s.Proximity = model.OnlySameNode }), "",
		},
		{
			"local_leaves_nothing_to_distribute", "", ports + ", internalTrafficPolicy: Local, trafficDistribution: PreferClose",
			base(func(s *model.Service) { s.Proximity = model.OnlySameNode }), "",
		},
		{
			"internal_traffic_unknown", "", ports + ", internalTrafficPolicy: local",
			base(func(*model.Service) {}),
			"warning: Service myapp/users: spec.internalTrafficPolicy: `local` is no known policy: all endpoints are called (Cluster or Local)\n",
		},
		{
			"prefer_close", "", ports + ", trafficDistribution: PreferClose",
			base(func(s *model.Service) { s.Proximity = model.PreferSameZone }), "",
		},
		{
			"prefer_same_zone", "", ports + ", trafficDistribution: PreferSameZone",
			base(func(s *model.Service) { s.Proximity = model.PreferSameZone }), "",
		},
		{
			"prefer_same_node", "", ports + ", trafficDistribution: PreferSameNode",
			base(func(s *model.Service) { s.Proximity = model.PreferSameNode }), "",
		},
		{
			"distribution_by_annotation", "annotations: {networking.istio.io/traffic-distribution: preferClose}", ports,
			base(func(s *model.Service) { s.Proximity = model.PreferSameZone }), "",
		},
		{
			"distribution_field_before_annotation", "annotations: {networking.istio.io/traffic-distribution: PreferClose}",
			ports + ", trafficDistribution: PreferSameNode",
			base(func(s *model.Service) { s.Proximity = model.PreferSameNode }), "",
		},
		{
			"distribution_unknown", "annotations: {networking.istio.io/traffic-distribution: near}",
			ports + ", trafficDistribution: PreferNear",
			base(func(*model.Service) {}),
			"warning: Service myapp/users: spec.trafficDistribution: `PreferNear` is no known distribution: calls go to all endpoints alike (PreferSameZone, PreferClose or PreferSameNode)\n" +
				"warning: Service myapp/users: metadata.annotations[networking.istio.io/traffic-distribution]: `near` is no known distribution: calls go to all endpoints alike (PreferSameZone, PreferClose or PreferSameNode)\n",
		},
		{
			"same_number_over_udp", "", "ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]",
			base(func(s *model.Service) {
				s.Ports = []model.ServicePort{
					{Name: "dns", Port: 53, TargetPort: 53, Protocol: model.UDP}, {Name: "dns-tcp", Port: 53, TargetPort: 53, Protocol: model.TCP},
				}
			}), "",
		},
		{
			"sctp_is_left_out", "", "ports: [{name: http, port: 80}, {name: s, port: 81, protocol: SCTP}]",
			base(func(*model.Service) {}),
			"warning: Service myapp/users: spec.ports[1].protocol: SCTP does not pass through the mesh (the port is left out; calls reach the pods unchanged)\n",
		},
		{
			"app_protocol_slip", "", "ports: [{name: http, port: 80, appProtocol: h2c}]",
			base(func(s *model.Service) { s.Ports[0].Protocol = model.Undeclared }),
			"warning: Service myapp/users: spec.ports[0].appProtocol: `h2c` is no known protocol: the port is detected (did you mean `kubernetes.io/h2c`?)\n",
		},
		{
			"bad_ports", "", "ports: [{port: 0}, {port: 80}, {port: 80}, {name: a, port: 1, targetPort: 70000}, {name: a, port: 2}]", nil,
			"error: Service myapp/users: spec.ports[0].port: `0` is no port (1 to 65535)\n" +
				"error: Service myapp/users: spec.ports[2].port: port 80 is that of ports[1] too (each port once per protocol)\n" +
				"error: Service myapp/users: spec.ports[2].name: missing (with several ports each needs a name)\n" +
				"error: Service myapp/users: spec.ports[3].targetPort: `70000` is no port (1 to 65535, or the name of a container port)\n" +
				"error: Service myapp/users: spec.ports[4].name: `a` names ports[3] too (each name once)\n",
		},
		{
			"bad_address", "", ports + ", clusterIP: 10.96.0", nil,
			"error: Service myapp/users: spec.clusterIP: `10.96.0` is no IP address (an address, or None for a headless Service)\n",
		},
		{
			"bad_second_address", "", ports + ", clusterIPs: [None, 10.96.0, 10.96.0.1]", nil,
			"error: Service myapp/users: spec.clusterIPs[1]: `10.96.0` is no IP address (an address, or None for a headless Service)\n" +
				"error: Service myapp/users: spec.clusterIPs: None excludes addresses\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := read[corev1.Service](t, "metadata: {name: users, namespace: myapp, "+tt.meta+"}\nspec: {"+tt.spec+"}")
			before := in.DeepCopy()
			got, problems := Service(in, "cluster.local")
			if diff := cmp.Diff(tt.want, got, equateAddrs(), cmpopts.IgnoreFields(model.Service{}, "Facts")); diff != "" {
				t.Errorf("Service (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, in); diff != "" {
				t.Errorf("the input changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestServiceKeepsNothingOfItsInput(t *testing.T) {
	in := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "a"}}}
	out, _ := Service(in, "cluster.local")
	in.Spec.Selector["app"] = "b"
	if out.Selector["app"] != "a" || out.Key.Namespace != "default" {
		t.Errorf("Service = %+v", out)
	}
}

func TestPortProtocol(t *testing.T) {
	app := func(s string) *string { return &s }
	for _, tt := range []struct {
		name, portName string
		port           int32
		appProtocol    *string
		transport      corev1.Protocol
		want           model.Protocol
	}{
		{name: "udp_transport_wins", portName: "http", transport: corev1.ProtocolUDP, want: model.UDP},
		{name: "name_alone", portName: "http", want: model.HTTP},
		{name: "name_with_suffix", portName: "grpc-api", want: model.GRPC},
		{name: "any_case", portName: "HTTP2-x", want: model.HTTP2},
		{name: "grpc_web", portName: "grpc-web-api", want: model.GRPCWeb},
		{name: "no_dash_no_match", portName: "httpapi", want: model.Undeclared},
		{name: "https_is_tls", portName: "https-web", want: model.TLS},
		{name: "tls", portName: "tls", want: model.TLS},
		{name: "tcp", portName: "tcp-db", want: model.TCP},
		{name: "mongo", portName: "mongo", want: model.TCP},
		{name: "redis", portName: "redis-x", want: model.TCP},
		{name: "mysql", portName: "mysql", want: model.TCP},
		{name: "http_proxy", portName: "http_proxy-x", want: model.HTTP},
		{name: "udp_by_name_only", portName: "udp-x", want: model.TCP},
		{name: "unnamed", want: model.Undeclared},
		{name: "other_name", portName: "web", want: model.Undeclared},
		{name: "mysql_by_port", port: 3306, want: model.TCP},
		{name: "mongo_by_port", portName: "db", port: 27017, want: model.TCP},
		{name: "smtp_by_port", port: 25, want: model.TCP},
		{name: "dns_by_port", port: 53, want: model.TCP},
		{name: "name_beats_port", portName: "http", port: 3306, want: model.HTTP},
		{name: "app_protocol_beats_name", portName: "tcp", appProtocol: app("http"), want: model.HTTP},
		{name: "unknown_app_protocol_hides_the_name", portName: "http", appProtocol: app("example.com/x"), want: model.Undeclared},
		{name: "empty_app_protocol_hides_the_name", portName: "http", appProtocol: app(""), want: model.Undeclared},
		{name: "h2c", appProtocol: app("kubernetes.io/h2c"), want: model.HTTP2},
		{name: "ws", appProtocol: app("kubernetes.io/ws"), want: model.HTTP},
		{name: "wss", appProtocol: app("kubernetes.io/wss"), want: model.TLS},
		{name: "app_protocol_any_case", appProtocol: app("gRPC"), want: model.GRPC},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := PortProtocol(tt.port, tt.portName, tt.appProtocol, tt.transport); got != tt.want {
				t.Errorf("PortProtocol = %v, want %v", got, tt.want)
			}
		})
	}
}
