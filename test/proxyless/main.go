// Command proxyless is a gRPC server that says which one it is, and a gRPC app that calls by its library's own xDS client,
// for the stories of test/lab:
//
//	proxyless server NAME ADDRESS    serves grpc.health.v1.Health, with NAME in the header x-backend; where NAME ends in "for ",
//	                                 who calls follows
//	proxyless client TARGET ADDRESS  calls TARGET when it is told to, by HTTP on ADDRESS
//
// GET /call?n=2000&c=4 makes so many calls, so many at a time, and answers with a JSON object: how many each server
// answered, how many failed, and the first error. GET /until?name=v2&run=30 calls until so many in a row were answered by one
// server. Both have credentials of xDS where there is a bootstrap, and speak plainly where xDS does not say anything else.
// client.py, client.js and server.py beside this file are the same for other libraries.
//
// It is not part of the mesh, and starts nothing but what it is told.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscredentials "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: proxyless server NAME ADDRESS | proxyless client TARGET ADDRESS")
		os.Exit(2)
	}
	run := serve
	if os.Args[1] == "client" {
		run = call
	}
	if err := run(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "proxyless:", err)
		os.Exit(1)
	}
}

func serve(name, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	named := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		said := name
		if strings.HasSuffix(name, "for ") {
			said += caller(ctx)
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-backend", said)); err != nil {
			return nil, err
		}
		return next(ctx, req)
	})
	if os.Getenv("GRPC_XDS_BOOTSTRAP") == "" {
		s := grpc.NewServer(named)
		grpc_health_v1.RegisterHealthServer(s, health.NewServer())
		return s.Serve(listener)
	}
	creds, err := xdscredentials.NewServerCredentials(xdscredentials.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	s, err := xds.NewGRPCServer(grpc.Creds(creds), named)
	if err != nil {
		return err
	}
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return s.Serve(listener)
}

// caller is who calls: by TLS that ends here, or by the word of a sidecar; "nobody" where it comes plainly.
func caller(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 && len(info.State.PeerCertificates[0].URIs) > 0 {
			return info.State.PeerCertificates[0].URIs[0].String()
		}
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for _, said := range md.Get("x-forwarded-client-cert") {
			if _, uri, ok := strings.Cut(said, "URI="); ok {
				return uri
			}
		}
	}
	return "nobody"
}

// callTime bounds one call.
const callTime = 20 * time.Second

// app is the gRPC app.
type app struct{ health grpc_health_v1.HealthClient }

func call(target, address string) error {
	creds, err := xdscredentials.NewClientCredentials(xdscredentials.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	a := &app{health: grpc_health_v1.NewHealthClient(conn)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /call", a.many)
	mux.HandleFunc("GET /until", a.until)
	s := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Minute}
	return s.ListenAndServe()
}

// once gives the name of the server that answered.
func (a *app) once(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var head metadata.MD
	if _, err := a.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&head)); err != nil {
		return "", err
	}
	if names := head.Get("x-backend"); len(names) > 0 {
		return names[0], nil
	}
	return "unnamed", nil
}

// report is what /call answers.
type report struct {
	Answered map[string]int `json:"answered"`
	Failed   int            `json:"failed"`
	Error    string         `json:"error,omitempty"`
}

func (a *app) many(w http.ResponseWriter, r *http.Request) {
	n, workers := number(r, "n"), max(1, number(r, "c"))
	out := report{Answered: map[string]int{}}
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for i := range workers {
		wg.Go(func() {
			for range n/workers + min(1, max(0, n%workers-i)) {
				name, err := a.once(r.Context())
				mu.Lock()
				if err != nil {
					out.Failed++
					out.Error = err.Error()
				} else {
					out.Answered[name]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	json.NewEncoder(w).Encode(out) //nolint:errcheck,errchkjson // the test sees that there is none
}

func (a *app) until(w http.ResponseWriter, r *http.Request) {
	for run := 0; run < number(r, "run"); {
		name, err := a.once(r.Context())
		switch {
		case r.Context().Err() != nil:
			return
		case err == nil && name == r.FormValue("name"):
			run++
		default:
			run = 0
		}
	}
	fmt.Fprintln(w, "{}")
}

func number(r *http.Request, key string) int {
	n, err := strconv.Atoi(r.FormValue(key))
	if err != nil {
		return 0
	}
	return n
}
