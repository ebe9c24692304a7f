package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/certs"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Policy is how a backend wants its plain connections made and kept. The zero value has the defaults.
type Policy struct {
	connect, idle time.Duration // 0 = ConnectTimeout, idleAfter
	perConn       uint32        // requests per connection of HTTP/1.1, 0 = unlimited
	streams       uint32        // at a time on a connection of HTTP/2, 0 = as many as the peer takes
	oldest        time.Duration // how long a connection may take new requests, 0 = for ever
	alive         model.TCPKeepAlive
	ping          model.HTTP2KeepAlive
	tls           originTLS
	preface       string // with which each connection begins, before TLS
}

// originTLS is TLS that the proxy begins on behalf of the app. The zero value is none.
type originTLS struct {
	enabled, skipVerify bool
	serverName          string
	names               string // acceptable subject alternative names, joined by commas; empty: serverName
	caFile, cert, keyOf string
	crlFile             string // of revoked certificates, empty for none
	own, judge          Secret // of Secrets, in the place of files
}

// PolicyOf gives the policy of a backend's endpoints without a sidecar. secret gives what is known of a Credential of a name.
func PolicyOf(b *plan.Backend, secret func(name string) *Credential) Policy {
	p := Policy{
		connect: b.ConnectTimeout, idle: b.HTTPIdleTimeout, perConn: b.MaxRequestsPerConnection, streams: b.MaxConcurrentStreams,
		oldest: b.MaxConnectionDuration, alive: b.KeepAlive, ping: b.Ping,
	}
	if b.TLS.Mode == model.TLSSimple || b.TLS.Mode == model.TLSMutual {
		p.tls = originTLS{
			enabled: true, skipVerify: b.TLS.InsecureSkipVerify, serverName: cmp.Or(b.TLS.SNI, string(b.Host)),
			names: strings.Join(b.TLS.SubjectAltNames, ","), caFile: b.TLS.CACert, crlFile: b.TLS.CRL,
		}
		p.tls.secrets(b, secret)
		if b.TLS.Mode == model.TLSMutual {
			p.tls.cert, p.tls.keyOf = b.TLS.ClientCert, b.TLS.Key
		}
	}
	return p
}

// PolicyOfApp gives the policy of connections to the workload's own app; nil has the defaults.
func PolicyOfApp(a *plan.AppPool) Policy {
	if a == nil {
		return Policy{}
	}
	return Policy{
		connect: a.ConnectTimeout, idle: a.HTTPIdleTimeout, perConn: a.MaxRequestsPerConnection, streams: a.MaxConcurrentStreams,
		oldest: a.MaxConnectionDuration, alive: a.KeepAlive, ping: a.Ping,
	}
}

// TakesMesh reports whether the backend's policy leaves the mesh transport to an endpoint that has a sidecar.
func TakesMesh(b *plan.Backend) bool {
	switch b.TLS.Mode {
	case model.TLSUnset, model.TLSIstioMutual:
		return true
	case model.TLSDisable, model.TLSSimple, model.TLSMutual:
	}
	return false
}

// keepAlive has the kernel probe the peer of a new connection as the policy says.
func (p *Policy) keepAlive(conn net.Conn) error {
	c, ok := conn.(interface{ NetTCP() *net.TCPConn })
	if !ok || p.alive == (model.TCPKeepAlive{}) {
		return nil
	}
	config := net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1} // as they are
	if p.alive.Time > 0 {
		config.Idle = p.alive.Time
	}
	if p.alive.Interval > 0 {
		config.Interval = p.alive.Interval
	}
	if p.alive.Probes > 0 {
		config.Count = int(p.alive.Probes)
	}
	return c.NetTCP().SetKeepAliveConfig(config)
}

// secure begins TLS on a new connection where the policy says so; alpn is what the proxy will speak, "" for bytes.
func (o *originTLS) secure(ctx context.Context, conn net.Conn, alpn string) (net.Conn, error) {
	if !o.enabled {
		return conn, nil
	}
	config, err := o.config(ctx, alpn)
	if err == nil {
		below := &noticingEnd{Conn: conn}
		secured := tls.Client(below, config)
		if err = secured.HandshakeContext(ctx); err == nil {
			return &originConn{Conn: secured, below: below}, nil
		}
	}
	conn.Close()
	return nil, fmt.Errorf("TLS origination (DestinationRule tls, server name %q): %w", o.serverName, err)
}

// config reads the files anew for each connection: they are rotated, and handshakes are rare. For what has not come yet of a
// Secret it waits until ctx ends.
func (o *originTLS) config(ctx context.Context, alpn string) (*tls.Config, error) {
	c := &tls.Config{ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	if alpn != "" {
		c.NextProtos = []string{alpn}
	}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("caCertificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caCertificates: no certificate in %s", o.caFile)
		}
	}
	if o.cert != "" || o.keyOf != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.keyOf)
		if err != nil {
			return nil, fmt.Errorf("clientCertificate, privateKey: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	revoked, err := o.ofSecrets(ctx, c)
	if err == nil && o.crlFile != "" {
		revoked, err = o.revocations()
	}
	switch {
	case err != nil:
		return nil, err
	case o.skipVerify:
		c.InsecureSkipVerify = true // the user's insecureSkipVerify
	case o.names != "", revoked != nil:
		// The standard check knows one name and no lists of the revoked; here any of several names will do, also URIs. The
		// chain is checked all the same.
		c.InsecureSkipVerify = true // VerifyConnection does it
		c.VerifyConnection = func(cs tls.ConnectionState) error { return o.verify(&cs, c.RootCAs, revoked) }
	}
	return c, nil
}

// revocations reads the file with the lists of revoked certificates.
func (o *originTLS) revocations() (revocations, error) {
	data, err := os.ReadFile(o.crlFile)
	if err == nil {
		var out revocations
		if out, err = certs.Revocations(data); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("caCrl: %w", err)
}

// verify checks the chain of a server, that nothing in it is revoked, and that it has one of the acceptable names.
func (o *originTLS) verify(cs *tls.ConnectionState, roots *x509.CertPool, revoked revocations) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return err
	}
	if revoked != nil {
		if err := revoked.check(chains, time.Now()); err != nil {
			return err
		}
	}
	if o.names == "" {
		return leaf.VerifyHostname(o.serverName)
	}
	for name := range strings.SplitSeq(o.names, ",") {
		if leaf.VerifyHostname(name) == nil {
			return nil
		}
		for _, u := range leaf.URIs {
			if u.String() == name {
				return nil
			}
		}
	}
	have := slices.Clone(leaf.DNSNames)
	for _, u := range leaf.URIs {
		have = append(have, u.String())
	}
	return fmt.Errorf("the server's certificate is for %s, subjectAltNames wants one of %s", strings.Join(have, ", "), o.names)
}
