package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ads "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/xds"
)

// usersPods has a pod whose address is that of the tests themselves.
const usersPods = `apiVersion: v1
kind: Pod
metadata: {name: here, namespace: myapp}
spec: {serviceAccountName: orders, containers: [{name: app, image: x}]}
status: {podIP: 127.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: elsewhere}
spec: {serviceAccountName: orders, containers: [{name: app, image: x}]}
status: {podIP: 10.0.0.99, phase: Running}
`

// dialXDS gives a stream of deltas of a client that calls itself grpc.
func dialXDS(t *testing.T, addr string, creds credentials.TransportCredentials, token string) (ads.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(func() { cancel(); conn.Close() })
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ads.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
}

// askXDS asks for a resource and gives what came: "name" or "-name".
func askXDS(t *testing.T, s ads.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, node string, typ xds.Type, name string) (string, error) {
	t.Helper()
	err := s.Send(&ads.DeltaDiscoveryRequest{
		Node: &core.Node{Id: node, UserAgentName: "gRPC test"}, TypeUrl: typ.URL(), ResourceNamesSubscribe: []string{name},
	})
	if err != nil && !errors.Is(err, io.EOF) { // then the status comes by Recv
		t.Fatal(err)
	}
	return hearXDS(s)
}

func hearXDS(s ads.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) (string, error) {
	r, err := s.Recv()
	if err != nil {
		return "", err
	}
	var parts []string
	for _, res := range r.GetResources() {
		parts = append(parts, res.GetName())
	}
	for _, n := range r.GetRemovedResources() {
		parts = append(parts, "-"+n)
	}
	return strings.Join(parts, " "), s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

// certificate gives one that the control plane has signed for the token's workload.
func (w *world) certificate(t *testing.T, namespace, pod string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := w.clientIn(t, namespace, pod, newProxy()).Sign(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := identity.ParseCertificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	return *identity.TLSCertificate(key, certs)
}

// Who a standard client is, its proof says; what it sees, that says too. "users:8080" is a name of namespace myapp alone.
func TestStandardClientsAreWhoTheyProveToBe(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1), "pods.yaml", usersPods)
	const name = "users:8080"
	trusting := func(certs ...tls.Certificate) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: w.roots(t), ServerName: "localhost", Certificates: certs})
	}
	const own, foreign = "sidecar~127.0.0.1~here.myapp~myapp.svc.cluster.local", "sidecar~127.0.0.1~here.elsewhere~elsewhere.svc.cluster.local"
	stray, err := tls.X509KeyPair(selfSigned(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, addr string
		creds      credentials.TransportCredentials
		token      string
		node       string
		want, id   string
		code       codes.Code
	}{
		{name: "by_address", addr: w.plain, creds: insecure.NewCredentials(), node: "any", want: name, id: "here.myapp"},
		{name: "by_address_whatever_the_node_says", addr: w.plain, creds: insecure.NewCredentials(), node: foreign, want: name, id: "here.myapp"},
		{name: "by_token", addr: w.addr, creds: trusting(), token: w.token(t, "myapp", "clerk"), node: "any", want: name, id: "clerk.myapp"},
		{name: "by_token_of_another_namespace", addr: w.addr, creds: trusting(), token: w.token(t, "elsewhere", "other"), node: own, want: "-" + name, id: "other.elsewhere"},
		{name: "by_certificate", addr: w.addr, creds: trusting(w.certificate(t, "myapp", "here")), node: "any", want: name, id: "here.myapp"},
		{name: "by_certificate_of_another_namespace", addr: w.addr, creds: trusting(w.certificate(t, "elsewhere", "other")), node: own, want: "-" + name, id: "orders.elsewhere"},
		{name: "without_proof", addr: w.addr, creds: trusting(), node: own, code: codes.Unauthenticated},
		{name: "with_a_bad_token", addr: w.addr, creds: trusting(), token: "nonsense", node: own, code: codes.Unauthenticated},
		{name: "with_a_certificate_of_its_own", addr: w.addr, creds: trusting(stray), node: own, code: codes.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			s, err := dialXDS(t, tt.addr, tt.creds, tt.token)
			if err == nil {
				got, err = askXDS(t, s, tt.node, xds.Listener, name)
			}
			if got != tt.want || status.Code(err) != tt.code {
				t.Fatalf("asking for %s gives %q, %v; want %q and code %s", name, got, err, tt.want, tt.code)
			}
			if tt.id != "" && !strings.Contains(w.get(t, "/debug/syncz"), `"id": "`+tt.id+`"`) {
				t.Errorf("/debug/syncz does not list %s: %s", tt.id, w.get(t, "/debug/syncz"))
			}
		})
	}
}

// An edit changes routes and clusters alone, an endpoint its cluster's endpoints alone.
func TestStandardClientsHearOfWhatChanges(t *testing.T) {
	w := start(t, "users.yaml", usersService, "slice.yaml", usersSlice(1), "pods.yaml", usersPods)
	const cluster = "outbound|8080||users.myapp.svc.cluster.local"
	s, err := dialXDS(t, w.plain, insecure.NewCredentials(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []xds.Type{xds.Listener, xds.Routes, xds.Cluster, xds.Endpoints} {
		name := cluster
		if typ == xds.Listener {
			name = "users:8080"
		}
		if got, err := askXDS(t, s, "any", typ, name); got != name || err != nil {
			t.Fatalf("asking for %s %s gives %q, %v", typ, name, got, err)
		}
	}
	hear := func(typ xds.Type) *ads.DeltaDiscoveryResponse {
		t.Helper()
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.GetResources()) != 1 || r.GetTypeUrl() != typ.URL() || r.GetResources()[0].GetName() != cluster {
			t.Fatalf("response %v, want %s of %s", r, typ, cluster)
		}
		return r
	}
	w.write(t, "slice.yaml", usersSlice(1, 2))
	r := hear(xds.Endpoints)
	refused := &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: "too many of them"}
	if err := s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: refused}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal is shown", func() bool { return strings.Contains(w.get(t, "/debug/syncz"), "too many of them") })
	if page := w.get(t, "/debug/problemz"); !strings.Contains(page, "refused by gRPC test: too many of them") {
		t.Errorf("/debug/problemz does not say it: %s", page)
	}
	w.write(t, "route.yaml", `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec:
  hosts: [users]
  http: [{timeout: 3s, route: [{destination: {host: users}}]}]
`)
	hear(xds.Routes)
}

// selfSigned gives a certificate that nobody has signed but itself, and its key.
func selfSigned(t *testing.T) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// An Envoy that says that it is a sidecar is told so once its pod is known as one that has a sidecar: what it is told depends on it.
func TestAnEnvoyIsASidecarWhereItsPodHasOne(t *testing.T) {
	w := start(t, "users.yaml", usersService, "pods.yaml", usersPods)
	ask := func() (string, error) {
		s, err := dialXDS(t, w.plain, insecure.NewCredentials(), "")
		if err != nil {
			return "", err
		}
		said, err := structpb.NewStruct(map[string]any{"INTERCEPTION_MODE": "REDIRECT"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&ads.DeltaDiscoveryRequest{Node: &core.Node{Id: "any", UserAgentName: "envoy", Metadata: said}, TypeUrl: xds.Listener.URL()}); err != nil {
			t.Fatal(err)
		}
		return hearXDS(s)
	}
	if got, err := ask(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"here"`) {
		t.Errorf("without a sidecar: %q, %v, want that it is to come again", got, err)
	}
	w.write(t, "pods.yaml", strings.Replace(usersPods, "namespace: myapp}", `namespace: myapp, annotations: {fairlead.dev/status: injected}}`, 1))
	eventually(t, "the pod is known to have one", func() bool {
		got, err := ask()
		return err == nil && strings.Contains(got, "virtualInbound") && strings.Contains(got, "meshInbound") && strings.Contains(got, "virtualOutbound")
	})
}
