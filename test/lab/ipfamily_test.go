package lab_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// familyLab is a lab of one family of addresses, or of both.
type familyLab struct {
	name lab.IPFamily
	vips map[string][]string // of its Services
	auto []netip.Prefix      // where the addresses of ServiceEntries come from that pods can use
	dns  string
}

var (
	auto4 = netip.MustParsePrefix("240.240.0.0/16")
	auto6 = netip.MustParsePrefix("2001:2::/48")
)

func familyLabs() []familyLab {
	return []familyLab{
		{lab.IPv4, map[string][]string{"meshed": {"10.96.0.31"}, "bare": {"10.96.0.32"}, "nobody": {"10.96.0.33"}}, []netip.Prefix{auto4}, dnsServer},
		{lab.IPv6, map[string][]string{"meshed": {"fd00:10:96::31"}, "bare": {"fd00:10:96::32"}, "nobody": {"fd00:10:96::33"}}, []netip.Prefix{auto6}, "[fd00:10:96::a]:53"},
		{lab.DualStack, map[string][]string{
			"meshed": {"10.96.0.31", "fd00:10:96::31"}, "bare": {"10.96.0.32", "fd00:10:96::32"}, "nobody": {"10.96.0.33", "fd00:10:96::33"},
		}, []netip.Prefix{auto4, auto6}, "[fd00:10:96::a]:53"},
	}
}

// inURL writes an address as a URL has it.
func inURL(a string) string {
	if strings.Contains(a, ":") {
		return "[" + a + "]"
	}
	return a
}

func (l *familyLab) manifests() string {
	var b strings.Builder
	b.WriteString(app{name: "client", replicas: 1}.String() + app{name: "outsider", replicas: 1, bare: true}.String())
	for _, name := range []string{"meshed", "bare"} {
		b.WriteString(app{name: name, replicas: 2, args: `--tcp, "9000"`, bare: name == "bare"}.String())
		b.WriteString(l.service(name, name, http80+", {name: tcp-echo, port: 9000}"))
		b.WriteString(service(name+"-each", "None", "app: "+name, "{name: http, port: 8080}"))
		b.WriteString(service(name+"-usual", "", "app: "+name, http80)) // says nothing of families
	}
	b.WriteString(l.service("nobody", "meshed", "{name: http, port: 80, targetPort: 7777}")) // no app listens there
	var hosts []string
	for _, a := range l.vips["meshed"] {
		hosts = append(hosts, `{uri: {prefix: /by-address}, authority: {exact: "`+inURL(a)+`"}}`)
	}
	b.WriteString(virtualService("meshed", `
  http:
  - match: [`+strings.Join(hosts, ", ")+`]
    directResponse: {status: 299}
  - headers: {response: {set: {x-client: "%DOWNSTREAM_REMOTE_ADDRESS%"}}}
    route: [{destination: {host: meshed}}]`))
	return b.String()
}

// service has the addresses that the story gave it.
func (l *familyLab) service(name, app, ports string) string {
	more := []string{"clusterIPs: [" + `"` + strings.Join(l.vips[name], `", "`) + `"]`}
	if len(l.vips[name]) > 1 {
		more = append(more, dualStack)
	}
	return service(name, `"`+l.vips[name][0]+`"`, "app: "+app, ports, more...)
}

// TestIPFamilies: a lab of IPv4, of IPv6 and of both does the same.
func TestIPFamilies(t *testing.T) {
	t.Parallel()
	for _, l := range familyLabs() {
		t.Run(string(l.name), func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, l.manifests(), withMesh("mesh.accessLog=json"), func(o *lab.UpOptions) { o.IPFamily = l.name })
			t.Run("addresses", func(t *testing.T) { l.addresses(t, m) })
			for _, from := range []string{client, "deploy/outsider-v1"} {
				t.Run(strings.TrimPrefix(from, "deploy/"), func(t *testing.T) { l.exchanges(t, m, from) })
			}
			t.Run("calls_by_address", func(t *testing.T) { l.byAddress(t, m) })
			t.Run("a_service_entry_without_addresses", func(t *testing.T) { l.autoAddress(t, m) })
			t.Run("the_control_plane_comes_back", func(t *testing.T) { l.controlPlane(t, m) })
			t.Run("addresses_are_written_as_urls_have_them", func(t *testing.T) { l.brackets(t, m) })
		})
	}
}

// addresses: pods have those of the lab's families, in its order, and so does DNS.
func (l *familyLab) addresses(t *testing.T, m *mesh) {
	t.Helper()
	want := map[lab.IPFamily][]bool{lab.IPv4: {false}, lab.IPv6: {true}, lab.DualStack: {false, true}}[l.name]
	var got []bool
	for _, a := range m.find(t, client).IPs {
		got = append(got, a.Is6())
	}
	if !slices.Equal(got, want) {
		t.Errorf("a pod has addresses %v", m.find(t, client).IPs)
	}
	r := m.resolverAt(client, l.dns)
	for name, vips := range l.vips {
		found, err := r.LookupNetIP(t.Context(), "ip", name+".shop.svc.cluster.local.")
		var text []string
		for _, a := range found {
			text = append(text, a.Unmap().String())
		}
		slices.Sort(text)
		if err != nil || !slices.Equal(text, vips) {
			t.Errorf("%s has addresses %v (%v), want %v", name, text, err, vips)
		}
	}
}

// exchanges: HTTP/1, HTTP/2 and TCP to pods with and without a sidecar.
func (l *familyLab) exchanges(t *testing.T, m *mesh, from string) {
	t.Helper()
	for _, name := range []string{"meshed", "bare"} {
		for _, url := range []string{"http://" + name + "/", "http://" + name + "-each:8080/", "http://" + name + "-usual/"} {
			for _, more := range [][]string{nil, {"--http2"}} {
				r := m.call(t, from, append([]string{url, "--count", "20", "--new-connections", "--timeout", "30s"}, more...)...)
				// Without a sidecar an app takes the first address of a name.
				if r.OK != 20 || from == client && len(r.Pods) != 2 {
					t.Errorf("%s calls %s %v: %+v", from, url, more, r)
				}
			}
		}
		for _, vip := range l.vips[name] {
			if got, err := m.converse(t, from, inURL(vip)+":9000", "raw"); err != nil || got != "raw" {
				t.Errorf("%s and %s: %q, %v", from, vip, got, err)
			}
		}
	}
}

// byAddress: the Host of a request is an address, and routes go by it.
func (l *familyLab) byAddress(t *testing.T, m *mesh) {
	t.Helper()
	for _, vip := range l.vips["meshed"] {
		at := inURL(vip) + ":80"
		a := m.do(t, client, http.MethodGet, at, "/asked-"+strings.Trim(inURL(vip), "[]"), "Host: "+at)
		if a.StatusCode != http.StatusOK || a.echo.Host != at {
			t.Fatalf("%s: status %d, Host %q", at, a.StatusCode, a.echo.Host)
		}
		client, err := netip.ParseAddrPort(a.Header.Get("X-Client"))
		if err != nil || !slices.Contains(m.find(t, "deploy/client-v1").IPs, client.Addr()) {
			t.Errorf("%%DOWNSTREAM_REMOTE_ADDRESS%% is %q: %v", a.Header.Get("X-Client"), err)
		}
		if !strings.Contains(xfcc(a), "URI=spiffe://cluster.local/ns/shop/sa/client") {
			t.Errorf("%s: the caller is %q", at, xfcc(a))
		}
		if a := m.do(t, "deploy/client-v1", http.MethodGet, at, "/by-address", "Host: "+inURL(vip)); a.StatusCode != 299 {
			t.Errorf("a rule for the authority %s: status %d of %q", inURL(vip), a.StatusCode, a.body)
		}
	}
	for _, a := range m.find(t, "deploy/meshed-v1").IPs {
		if r := m.do(t, client, http.MethodGet, netip.AddrPortFrom(a, 8080).String(), "/"); r.StatusCode != http.StatusOK || xfcc(r) == "" {
			t.Errorf("call of a pod at %s: status %d, mutual TLS %t", a, r.StatusCode, xfcc(r) != "")
		}
	}
}

// autoAddress: a name that no cluster knows is called by addresses that the mesh gives it.
func (l *familyLab) autoAddress(t *testing.T, m *mesh) {
	t.Helper()
	endpoint := m.find(t, "deploy/bare-v1").IPs[len(m.find(t, "deploy/bare-v1").IPs)-1]
	entry := strings.Replace(serviceEntry("external.example", endpoint), endpoint.String(), `"`+endpoint.String()+`"`, 1)
	m.write(t, "external.yaml", entry)
	r := m.resolverAt(client, l.dns)
	for _, prefix := range l.auto {
		network := map[bool]string{false: "ip4", true: "ip6"}[prefix.Addr().Is6()]
		var addr netip.Addr
		eventually(t, "an address of external.example in "+prefix.String(), func() bool {
			addrs, err := r.LookupNetIP(t.Context(), network, "external.example.")
			if err != nil || len(addrs) != 1 {
				return false
			}
			addr = addrs[0].Unmap()
			return true
		})
		at := netip.AddrPortFrom(addr, 80).String()
		if a := m.do(t, client, http.MethodGet, at, "/"); !prefix.Contains(addr) || a.StatusCode != http.StatusOK || a.echo.Name != "bare" {
			t.Errorf("external.example at %s: status %d, %q", at, a.StatusCode, a.body)
		}
	}
	for _, more := range [][]string{nil, {"--http2"}} {
		if c := m.call(t, client, append([]string{"http://external.example/", "--count", "10", "--new-connections"}, more...)...); c.OK != 10 {
			t.Errorf("10 calls %v: %+v", more, c)
		}
	}
}

// controlPlane: sidecars find it again.
func (l *familyLab) controlPlane(t *testing.T, m *mesh) {
	t.Helper()
	for _, verb := range []string{"kill", "start"} {
		m.controller(t, verb)
	}
	m.settle(t)
	eventually(t, "all sidecars to be connected", func() bool {
		return len(keep(m.cli(t, "proxy-status"), "SYNCED")) == 3
	})
}

// ours6 finds the IPv6 addresses of labs, with what stands before and after them.
var ours6 = regexp.MustCompile(`[\[0-9a-f:]*fd00:10:(?:244|96)::[0-9a-f:.]*[\]:0-9]*`)

// badlyWritten6 gives what is neither an address nor an address in brackets, with a port or without.
func badlyWritten6(text string) []string {
	plain := regexp.MustCompile(`^fd00:10:(244|96)::[0-9a-f]{1,4}:?$`) // a colon after it may be the sentence's
	bracketed := regexp.MustCompile(`^\[fd00:10:(244|96)::[0-9a-f]{1,4}\](:\d+)?:?$`)
	var out []string
	for _, s := range ours6.FindAllString(text, -1) {
		if s = strings.TrimRight(s, "."); !plain.MatchString(s) && !bracketed.MatchString(s) {
			out = append(out, s)
		}
	}
	return out
}

func TestBadlyWritten6(t *testing.T) {
	t.Parallel()
	const text = `at fd00:10:244::2, at [fd00:10:244::2]:8080: refused. "fd00:10:96::31", http://[fd00:10:96::31]/ and ` +
		`fd00:10:244::2:8080 or [fd00:10:244::2:8080] or http://fd00:10:96::a:53/.`
	want := []string{"fd00:10:244::2:8080", "[fd00:10:244::2:8080]", "fd00:10:96::a:53"}
	if got := badlyWritten6(text); !slices.Equal(got, want) {
		t.Errorf("badlyWritten6() = %q, want %q", got, want)
	}
}

// brackets: an IPv6 address with a port is in brackets wherever somebody reads it: logs, metrics, answers, the command line.
func (l *familyLab) brackets(t *testing.T, m *mesh) {
	t.Helper()
	entry := m.accessEntry(t, client, "/asked-"+l.vips["meshed"][0])
	for _, field := range []string{"upstream_host", "downstream_local_address", "downstream_remote_address"} {
		if text, _ := entry[field].(string); text != "" {
			if _, err := netip.ParseAddrPort(text); err != nil {
				t.Errorf("access log: %s: %v", field, err)
			}
		} else {
			t.Errorf("access log: no %s in %v", field, entry)
		}
	}
	for _, from := range []string{client, "deploy/outsider-v1"} {
		for _, vip := range l.vips["nobody"] {
			r := m.do(t, client, http.MethodGet, inURL(vip)+":80", "/nobody")
			if bad := badlyWritten6(r.body); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.body, ":7777") || len(bad) > 0 {
				t.Errorf("a port at which no app listens, from %s: status %d of %q: %q", from, r.StatusCode, r.body, bad)
			}
		}
	}
	texts := map[string]string{
		"proxy-config":  m.cli(t, "proxy-config", "all", client, "-n", "shop"),
		"-o json":       m.cli(t, "proxy-config", "all", client, "-n", "shop", "-o", "json"),
		"of the called": m.cli(t, "proxy-config", "all", "deploy/meshed-v1", "-n", "shop", "-o", "json"),
		"lab status":    m.cli(t, "lab", "status", "-o", "json"),
		"metrics":       m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body,
		"dump":          m.do(t, client, http.MethodGet, "127.0.0.1:15000", "/config_dump").body,
		"metricsz":      m.controllerPage(t, "/metrics").body,
		"syncz":         m.controllerPage(t, "/debug/syncz").body,
		"endpointz":     m.controllerPage(t, "/debug/endpointz").body,
	}
	logs, err := filepath.Glob(filepath.Join(m.StateDir(), "logs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		texts[filepath.Base(path)] = read(t, path)
	}
	for name, text := range texts {
		if bad := badlyWritten6(text); len(bad) > 0 {
			t.Errorf("%s: %q", name, slices.Compact(bad))
		}
	}
	if l.name != lab.IPv4 && !strings.Contains(texts["proxy-config"], "[fd00:10:244::") {
		t.Error("no address of IPv6 is in proxy-config: the test looks at nothing")
	}
	var domains []string
	for _, r := range m.dump(t, client).Routes {
		domains = append(domains, r.Domains...)
	}
	for _, vip := range l.vips["meshed"] {
		if !slices.Contains(domains, inURL(vip)) {
			raw, _ := json.Marshal(domains)
			t.Errorf("the domains of routes are %s, without %s", raw, inURL(vip))
		}
	}
}

// TestFamiliesThatTheLabHasNot: what an API server would refuse is said, and the rest runs.
func TestFamiliesThatTheLabHasNot(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+
		service("four", "", "app: client", http80, "ipFamilies: [IPv4]")+
		service("both", "", "app: client", http80, dualStack)+
		service("prefers", "", "app: client", http80, "ipFamilyPolicy: PreferDualStack"),
		func(o *lab.UpOptions) { o.IPFamily = lab.IPv6 })
	st, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Service shop/four: spec.ipFamilies: IPv4 is not configured in this lab, which was started with --ip-family ipv6",
		"Service shop/both: spec.ipFamilyPolicy: RequireDualStack needs both families; this lab was started with --ip-family ipv6",
	} {
		if !slices.ContainsFunc(st.Problems, func(p string) bool { return strings.HasSuffix(p, want) }) {
			t.Errorf("problems %q, want %q", st.Problems, want)
		}
	}
	if r := m.call(t, client, "http://prefers/", "--count", "5"); r.OK != 5 {
		t.Errorf("calls of a Service that prefers both: %+v", r)
	}
}
