//go:build envoy

package lab_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/test/envoy"
)

// mixed are the kinds of sidecars of a mesh of both.
func mixed() []string { return []string{"fairlead", "envoy"} }

// mixedPair is a client beside one kind of sidecar and a server beside another, and how they speak.
type mixedPair struct{ from, to string }

func (p mixedPair) client() string { return "deploy/from-" + p.from + "-v1" }

// address is that of a port of the server's Service.
func (p mixedPair) address(port string) string {
	return fmt.Sprintf("10.96.5.%d:%s", 1+slices.Index(mixed(), p.to), port)
}

// echoes has a connection send back what it is sent, to its end.
func (m *mesh) echoes(t *testing.T, from, address string) error {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(from), address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	const text = "what is sent comes back"
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q came back", got)
	}
	return err
}

// TestEnvoySidecar has apps call each other through sidecars of both kinds, all of whom take mutual TLS alone.
func TestEnvoySidecar(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	manifests := []string{object("security.istio.io/v1", "PeerAuthentication", "default", "  mtls: {mode: STRICT}")}
	for i, kind := range mixed() {
		proxy := "fairlead.dev/proxy: " + kind
		server := app{name: "to-" + kind, replicas: 2, annotations: proxy, args: `--http, "8080,8081,8082", --tcp, "9000"`, ports: "{name: tcp, containerPort: 9000}"}
		manifests = append(manifests, app{name: "from-" + kind, replicas: 1, annotations: proxy}.String(), server.String(),
			service("to-"+kind, fmt.Sprint("10.96.5.", 1+i), "app: to-"+kind,
				http80+", {name: grpc, port: 81, targetPort: 8081}, {name: any, port: 82, targetPort: 8082}, {name: tcp-echo, port: 9000}"))
	}
	manifests = append(manifests, app{name: "stranger", replicas: 1, bare: true}.String())
	m := startMesh(t, strings.Join(manifests, ""), func(o *lab.UpOptions) { o.Envoy = path })
	for _, from := range mixed() {
		for _, to := range mixed() {
			p := mixedPair{from, to}
			t.Run(from+"_to_"+to, func(t *testing.T) { m.mixed(t, p) })
		}
	}
	t.Run("without_a_certificate", func(t *testing.T) {
		for _, kind := range mixed() {
			r := m.call(t, "deploy/stranger-v1", "http://to-"+kind+"/", "--count", "20")
			if r.OK > 0 {
				t.Errorf("%d of 20 calls of a pod without a sidecar came to a STRICT one beside %s", r.OK, kind)
			}
		}
	})
	t.Run("what_an_Envoy_has", func(t *testing.T) {
		for view, want := range map[string]string{
			"clusters":  "to-fairlead.shop.svc.cluster.local 80 - outbound EDS",
			"endpoints": m.find(t, "deploy/to-fairlead-v1").IPs[0].String() + ":8080 HEALTHY OK outbound|80||to-fairlead.shop.svc.cluster.local",
			"routes":    `80 to-envoy.shop.svc.cluster.local:80 `,
			"secret":    "default Cert Chain ACTIVE true",
			"listeners": "0.0.0.0 15006 Port: 8080; Trans: tls Inline Route: inbound_0.0.0.0_8080",
		} {
			name := "from-envoy-v1"
			if view == "listeners" {
				name = "to-envoy-v1"
			}
			out := m.cli(t, "proxy-config", view, "deploy/"+name, "-n", "shop")
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("proxy-config %s does not say %q:\n%s", view, want, out)
			}
		}
	})
	if out := m.cli(t, "proxy-config", "bootstrap", "deploy/to-envoy-v1", "-n", "shop", "-o", "jsonpath={.node.id}"); !strings.Contains(out, ".shop~shop.svc.cluster.local") {
		t.Errorf("proxy-config bootstrap says that its node is %q", out)
	}
	for _, name := range []string{"deploy/from-envoy-v1", "deploy/to-envoy-v1"} {
		admin := envoy.Admin{Client: m.client(t, name, "127.0.0.1:15000")}
		rejected, err := admin.Counters(t.Context(), "update_rejected$")
		if err != nil {
			t.Fatal(err)
		}
		for counter, n := range rejected {
			if n > 0 {
				t.Errorf("%s: %s = %d, want 0", name, counter, n)
			}
		}
	}
}

// caller finds the SPIFFE ID of a caller in x-forwarded-client-cert.
var caller = regexp.MustCompile(`URI="?(spiffe://[^;",]*)`)

func (m *mesh) mixed(t *testing.T, p mixedPair) {
	t.Helper()
	host := "http://to-" + p.to
	want := "spiffe://cluster.local/ns/shop/sa/from-" + p.from
	for _, way := range []struct {
		name, url string
		args      []string
	}{
		{"h1", host + "/", nil},
		{"h1_posts", host + "/", []string{"--method", "POST", "--body", "some body"}},
		{"h2", host + ":81/", []string{"--http2"}},
		{"undeclared", host + ":82/", nil},
		{"grpc", host + ":81/demo.Demo/Stream?count=1", []string{"--grpc"}},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := m.call(t, p.client(), append([]string{way.url, "--count", "1000", "--concurrency", "8"}, way.args...)...)
			if r.OK != 1000 || len(r.Pods) != 2 {
				t.Errorf("of 1000 calls %d failed, %v were answered by %v: %v", r.Failed, r.Statuses, r.Pods, r.Errors)
			}
		})
	}
	t.Run("tcp", func(t *testing.T) {
		for range 1000 {
			if err := m.echoes(t, p.client(), p.address("9000")); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("who_calls", func(t *testing.T) {
		for _, port := range []string{"80", "81"} {
			a := m.do(t, p.client(), http.MethodGet, p.address(port), "/",
				"x-forwarded-client-cert: By=spiffe://cluster.local/ns/shop/sa/forged;URI=spiffe://cluster.local/ns/shop/sa/forged", "x-fairlead-target: 10.0.0.1:1/h1")
			got := a.echo.Headers["X-Forwarded-Client-Cert"]
			found := caller.FindAllStringSubmatch(strings.Join(got, ","), -1)
			if len(found) != 1 || found[0][1] != want {
				t.Errorf("port %s: the app is told that %q calls, want %s", port, got, want)
			}
			for name := range a.echo.Headers {
				if strings.HasPrefix(name, "X-Fairlead-") {
					t.Errorf("port %s: the app sees %s", port, name)
				}
			}
		}
	})
}
