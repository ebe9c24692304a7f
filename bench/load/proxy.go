package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// proxy is one half of a pair as it is written in an afternoon: the standard library's reverse proxy, with mutual TLS to the other half.
func proxy(args []string) error {
	flags := flag.NewFlagSet("load proxy", flag.ContinueOnError)
	side := flags.String("side", "out", "out, beside the client, or in, beside the server")
	dir := flags.String("dir", "", "where certificates are")
	listen, to := flags.String("listen", "", "address to serve at"), flags.String("to", "", "host and port to send requests to")
	workers := flags.Int("workers", 1, "threads that run Go code")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(*workers)
	config, err := mutual(*dir)
	if err != nil {
		return err
	}
	target := &url.URL{Scheme: "http", Host: *to}
	transport := &http.Transport{MaxIdleConns: 2048, MaxIdleConnsPerHost: 2048, DisableCompression: true}
	if *side == "out" {
		target.Scheme, transport.TLSClientConfig = "https", config
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *side == "in" {
		l = tls.NewListener(l, config)
	}
	p := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	server := &http.Server{Handler: p} //nolint:gosec // nobody but the benchmark calls it
	return server.Serve(l)
}

// mutual is what both halves are told of TLS.
func mutual(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "leaf.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.pem has no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: "peer", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
	}, nil
}

// keep runs a command as a child of a process that has a name of its own on its command line, and passes on what asks it to end.
func keep(args []string) error {
	if len(args) < 2 {
		return errors.New("keep: want a name and a command")
	}
	cmd := exec.Command(args[1], args[2:]...) //nolint:gosec // the command is the point
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() { _ = cmd.Process.Signal(<-end) }() // one that has ended needs none
	return cmd.Wait()
}

// get prints what an address answers.
func get(args []string) error {
	if len(args) != 1 {
		return errors.New("get: want an address")
	}
	client := &http.Client{Timeout: readyWithin}
	answer, err := client.Get(args[0]) //nolint:gosec // the address is the point
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", args[0], answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
