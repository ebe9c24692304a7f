package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIPFamilyChoose(t *testing.T) {
	for _, tt := range []struct {
		name           string
		asked, machine IPFamily
		want           IPFamily
		err            string
	}{
		{"both_by_default", "", DualStack, DualStack, ""},
		{"what_the_machine_has", "", IPv4, IPv4, ""},
		{"ipv4", IPv4, DualStack, IPv4, ""},
		{"ipv6", IPv6, DualStack, IPv6, ""},
		{"ipv6_without_ipv6", IPv6, IPv4, "", "--ip-family ipv6: this kernel has no IPv6"},
		{"dual_without_ipv6", DualStack, IPv4, "", "--ip-family dual: this kernel has no IPv6"},
		{"unknown", "ipv5", DualStack, "", `--ip-family "ipv5": write one of ipv4, ipv6, dual`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.asked.choose(tt.machine)
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("choose() = %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("choose() = %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestIPFamilyAddresses(t *testing.T) {
	for _, tt := range []struct {
		family          IPFamily
		pod, node, dnss string
	}{
		{IPv4, "10.244.0.2", "10.244.0.1", "10.96.0.10"},
		{IPv6, "fd00:10:244::2", "fd00:10:244::1", "fd00:10:96::a"},
		{DualStack, "10.244.0.2,fd00:10:244::2", "10.244.0.1", "10.96.0.10,fd00:10:96::a"},
	} {
		t.Run(string(tt.family), func(t *testing.T) {
			first, err := tt.family.podPool(firstPodNetwork).sequential("pod")
			if err != nil {
				t.Fatal(err)
			}
			addrs := tt.family.podAddrs(first)
			if got := joinAddrs(addrs.list()); got != tt.pod || addrs.first() != first {
				t.Errorf("a pod has %s, first %s, want %s", got, addrs.first(), tt.pod)
			}
			if got := tt.family.node(); got != netip.MustParseAddr(tt.node) || nodeAddr(first) != got {
				t.Errorf("the node is %s, seen from the pod %s, want %s", got, nodeAddr(first), tt.node)
			}
			if got := strings.Join(tt.family.dnsServers(), ","); got != tt.dnss {
				t.Errorf("cluster DNS is at %s, want %s", got, tt.dnss)
			}
			if mac := podMAC(addrs); len(mac) != 6 || mac[5] != 2 {
				t.Errorf("hardware address %x", mac)
			}
		})
	}
}

func TestServiceFamilies(t *testing.T) {
	const v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	single, prefer, require := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	for _, tt := range []struct {
		name string
		lab  IPFamily
		spec corev1.ServiceSpec
		want []corev1.IPFamily
		err  string
	}{
		{"the_first_one_of_the_lab", DualStack, corev1.ServiceSpec{}, []corev1.IPFamily{v4}, ""},
		{"the_only_one_of_the_lab", IPv6, corev1.ServiceSpec{}, []corev1.IPFamily{v6}, ""},
		{"headless", IPv6, corev1.ServiceSpec{ClusterIP: "None"}, []corev1.IPFamily{v6}, ""},
		{"asked_for", DualStack, corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{v6}, IPFamilyPolicy: &single}, []corev1.IPFamily{v6}, ""},
		{"both", DualStack, corev1.ServiceSpec{IPFamilyPolicy: &require}, []corev1.IPFamily{v4, v6}, ""},
		{"both_ipv6_first", DualStack, corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{v6}, IPFamilyPolicy: &prefer}, []corev1.IPFamily{v6, v4}, ""},
		{"by_its_address", DualStack, corev1.ServiceSpec{ClusterIP: "fd00:10:96::7"}, []corev1.IPFamily{v6}, ""},
		{"the_second_one_is_added", DualStack, corev1.ServiceSpec{ClusterIP: "fd00:10:96::7", IPFamilyPolicy: &prefer}, []corev1.IPFamily{v6, v4}, ""},
		{"prefers_what_is_not_there", IPv6, corev1.ServiceSpec{IPFamilyPolicy: &prefer}, []corev1.IPFamily{v6}, ""},
		{"requires_what_is_not_there", IPv4, corev1.ServiceSpec{IPFamilyPolicy: &require}, nil, "spec.ipFamilyPolicy: RequireDualStack needs both families"},
		{"family_that_the_lab_has_not", IPv6, corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{v4}}, nil, "spec.ipFamilies: IPv4 is not configured in this lab"},
		{"address_that_the_lab_has_not", IPv6, corev1.ServiceSpec{ClusterIP: "10.96.0.7"}, nil, "spec.clusterIP: IPv4 is not configured in this lab"},
		{"address_of_the_other_family", DualStack, corev1.ServiceSpec{ClusterIP: "10.96.0.7", IPFamilies: []corev1.IPFamily{v6}}, nil, "spec.ipFamilies: the address 10.96.0.7 is not of the family IPv6"},
		{"no_address", DualStack, corev1.ServiceSpec{ClusterIPs: []string{"x"}}, nil, `spec.clusterIPs: "x" is no address`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc, problem := newClusterIPs(tt.lab).complete(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: tt.spec})
			if tt.err != "" {
				if problem == nil || !strings.Contains(problem.String(), "Service shop/web: "+tt.err) {
					t.Errorf("complete() = %v, want %s", problem, tt.err)
				}
				return
			}
			if problem != nil {
				t.Fatal(problem)
			}
			if diff := cmp.Diff(tt.want, svc.Spec.IPFamilies); diff != "" {
				t.Errorf("families (-want +got):\n%s", diff)
			}
			if tt.spec.ClusterIP == corev1.ClusterIPNone {
				return
			}
			var got []corev1.IPFamily
			for _, raw := range svc.Spec.ClusterIPs {
				got = append(got, ipFamily(netip.MustParseAddr(raw)))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || tt.spec.ClusterIP != "" && svc.Spec.ClusterIP != tt.spec.ClusterIP {
				t.Errorf("addresses %v, first %s (-want +got):\n%s", svc.Spec.ClusterIPs, svc.Spec.ClusterIP, diff)
			}
		})
	}
}
