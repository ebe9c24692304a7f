package controlplane

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// istiodAddress is where tools for Istio ask an istiod whether it is ready: through a port-forward, which comes from
// loopback, so that nothing else needs to reach it.
const istiodAddress = "127.0.0.1:8080"

// serveAsIstiod answers Kiali, which asks GET :8080/ready of each pod with the label app=istiod, with the monitor port's
// pages, and asks nothing else of a pod that does not answer.
func (c *cluster) serveAsIstiod(ctx context.Context) error {
	if !c.o.CompatKiali {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", istiodAddress)
	if err != nil {
		return named("port for Kiali", err)
	}
	s := &http.Server{
		Handler: c.p.monitor(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		shutDown(context.WithoutCancel(ctx), s)
	})
	err = s.Serve(listener)
	if !stop() { // the end has come
		<-done
		return nil
	}
	return named("port for Kiali", err)
}
