// Command consul is the Consul of the tests in a pod, datacenters dc1 and dc2: by TLS, to clients with a certificate of its CA and the ACL token.
//
//	consul -listen :8501 -files /etc/consul
//
// The directory has tls.crt and tls.key, ca.crt, which signs what clients show, and token.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/source/consul/consultest"
)

func main() {
	listen := flag.String("listen", ":8501", "`ADDRESS` to listen at")
	files := flag.String("files", "/etc/consul", "`DIRECTORY` of the certificate, the CA and the token")
	flag.Parse()
	if err := run(*listen, *files); err != nil {
		fmt.Fprintln(os.Stderr, "consul:", err)
		os.Exit(1)
	}
}

func run(listen, files string) error {
	token, err := os.ReadFile(filepath.Join(files, "token"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(files, "ca.crt"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return errors.New("ca.crt has no certificate")
	}
	fake := consultest.New("dc1", "dc2")
	fake.Demand(strings.TrimSpace(string(token)))
	s := &http.Server{
		Addr: listen, Handler: fake, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool},
	}
	return s.ListenAndServeTLS(filepath.Join(files, "tls.crt"), filepath.Join(files, "tls.key"))
}
