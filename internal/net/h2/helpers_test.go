package h2

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// loopback gives the two ends of a TCP connection.
func loopback(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() { server, err = ln.Accept() })
	client, dialErr := net.Dial("tcp", ln.Addr().String())
	wg.Wait()
	if err != nil || dialErr != nil {
		tb.Fatal(err, dialErr)
	}
	tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// tlsConfigs makes the two configurations of a connection with one self-signed certificate.
func tlsConfigs(tb testing.TB) (client, server *tls.Config) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "h2.test"}, DNSNames: []string{"h2.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
	}
	client = &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: "h2.test", NextProtos: []string{"h2"},
		MinVersion: tls.VersionTLS13,
	}
	return client, server
}

// pair runs a client and a server on the two ends of a connection until the test ends.
type pair struct {
	client *Client
	server *Server
	pool   *Pool
}

type setup struct {
	tls            bool
	client, server Options
	budget         int
}

func newPair(tb testing.TB, h func(*ServerStream), st setup) *pair {
	tb.Helper()
	cc, sc := loopback(tb)
	pool := &Pool{Budget: NewBudget(cmp.Or(st.budget, 64<<20))}
	st.client.Pool, st.server.Pool, st.server.Handler = pool, pool, h
	if st.tls {
		ccfg, scfg := tlsConfigs(tb)
		st.client.Coalescer, st.server.Coalescer = NewRecordCoalescer(cc, pool), NewRecordCoalescer(sc, pool)
		cc, sc = tls.Client(st.client.Coalescer, ccfg), tls.Server(st.server.Coalescer, scfg)
	}
	return startPair(tb, cc, sc, st)
}

func startPair(tb testing.TB, cc, sc net.Conn, st setup) *pair {
	tb.Helper()
	p := &pair{client: NewClient(cc, st.client), server: NewServer(sc, st.server), pool: st.client.Pool}
	ctx, cancel := context.WithCancel(tb.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.client.Run(ctx) })
	wg.Go(func() { p.server.Serve(ctx) })
	tb.Cleanup(func() { cancel(); wg.Wait() })
	return p
}

// message is a request or response in a form that compares well.
type message struct {
	Head     string
	Fields   []string
	Body     string
	Trailers []string
}

func list(f *httpx.Fields) (out []string) {
	if f == nil {
		return nil
	}
	for i := range f.Len() {
		n, v := f.At(i)
		out = append(out, string(n)+": "+string(v))
	}
	return out
}

func request(method, path string, fields ...string) *httpx.Request {
	r := &httpx.Request{
		Method: []byte(method), Scheme: []byte("http"), Authority: []byte("users.test:8080"), Path: []byte(path),
	}
	for i := 0; i < len(fields); i += 2 {
		r.Fields.AddString(fields[i], fields[i+1])
	}
	return r
}

// exchange sends a request and reads the answer, which may have come before the request was at its end: a server that has
// answered whole without it then says so by a reset (RFC 9113, section 8.1), and the answer counts.
func (p *pair) exchange(r *httpx.Request, body string, trailers *httpx.Fields) (m message, err error) {
	s, err := p.client.Open()
	if err != nil {
		return m, err
	}
	defer s.Close()
	if err := s.Send(r); err != nil {
		return m, err
	}
	_, werr := io.WriteString(s, body)
	if werr == nil {
		werr = s.End(trailers)
	}
	if m, err = receive(s); err != nil {
		err = errors.Join(werr, err)
	}
	return m, err
}

func receive(s *Stream) (m message, err error) {
	var res httpx.Response
	for {
		if err := s.Receive(&res); err != nil {
			return m, err
		}
		m.Head += statusText(&res)
		if res.Status >= 200 || res.Status == 101 {
			break
		}
	}
	m.Fields = list(&res.Fields)
	b, err := io.ReadAll(s)
	m.Body, m.Trailers = string(b), list(s.Trailers())
	return m, err
}

func statusText(r *httpx.Response) string {
	b := []byte{byte('0' + r.Status/100), byte('0' + r.Status/10%10), byte('0' + r.Status%10), ' '}
	return string(b)
}

// echo answers with the request's body and a few facts about its head.
func echo(s *ServerStream) {
	r := s.Request()
	res := &httpx.Response{Status: 200, ContentLength: -1}
	res.Fields.AddString("X-Line", string(r.Method)+" "+string(r.Scheme)+" "+string(r.Authority)+" "+string(r.Path))
	for i := range r.Fields.Len() {
		n, v := r.Fields.At(i)
		res.Fields.Add(append([]byte("x-echo-"), n...), v)
	}
	if s.Respond(res) != nil {
		return
	}
	if _, err := io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s}); err != nil {
		return
	}
	s.End(s.Trailers())
}

func want(tb testing.TB, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Fatalf("error = %v, want %v", err, target)
	}
}
