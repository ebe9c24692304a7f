package h2server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
)

// echo answers what comes for an exchange that it detaches. It is what arrived is told for, one at a time.
type echo struct {
	mu       sync.Mutex
	call     *Detached
	w        http.ResponseWriter
	over     bool
	finished chan error // gets how the request ended
	told     func()     // is called with each arrival; nil for nobody
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.w = w
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	http.NewResponseController(w).Flush()
	e.mu.Lock()
	defer e.mu.Unlock()
	detacher, ok := w.(Detacher)
	if !ok {
		e.finished <- errors.New("no Detacher")
		return
	}
	e.call = detacher.Detach(e.arrived)
	ctx := r.Context()
	go func() { // its owner
		<-ctx.Done()
		e.end(ctx.Err())
	}()
	e.read()
}

func (e *echo) arrived() {
	if e.told != nil {
		e.told()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.read()
	}
}

// read answers what has come. mu is held.
func (e *echo) read() {
	for b := make([]byte, 8); ; {
		n, err := e.call.Read(b)
		if n > 0 {
			e.w.Write(b[:n])
		}
		switch {
		case errors.Is(err, ErrLater):
			http.NewResponseController(e.w).Flush()
			return
		case err != nil:
			go e.end(err)
			return
		}
	}
}

func (e *echo) end(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.over = true
		e.call.Finish()
		e.finished <- err
	}
}

// TestDetached: an exchange goes on behind its handler, piece by piece, and ends with its client's end and the server's trailers.
func TestDetached(t *testing.T) {
	e := &echo{finished: make(chan error, 1)}
	w := start(t, e.ServeHTTP)
	requests, writer := io.Pipe()
	resp, err := w.client.Do(w.request(t, http.MethodPost, "/", requests))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, piece := range []string{"a", "more than eight bytes", "b"} {
		if _, err := io.WriteString(writer, piece); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len(piece))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != piece {
			t.Fatalf("%q was answered with %q, %v", piece, b, err)
		}
	}
	writer.Close()
	if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("the end is %q, %v, %v", b, err, resp.Trailer)
	}
	if err := <-e.finished; err != io.EOF { //nolint:errorlint // a clean end is io.EOF itself
		t.Errorf("the request ended with %v", err)
	}
}

// TestDetachedClientGoes: the owner of an exchange whose client goes, or whose server is closed, hears of it by the context.
func TestDetachedClientGoes(t *testing.T) {
	for name, leave := range map[string]func(*world, *http.Response){
		"client": func(_ *world, r *http.Response) { r.Body.Close() },
		"server": func(w *world, _ *http.Response) { w.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			e := &echo{finished: make(chan error, 1)}
			w := start(t, e.ServeHTTP)
			requests, writer := io.Pipe()
			defer writer.Close()
			resp, err := w.client.Do(w.request(t, http.MethodPost, "/", requests))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			leave(w, resp)
			if err := <-e.finished; err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the request ended with %v", err)
			}
		})
	}
}

// TestDetachedPanics: what panics in the goroutine that reads the connection breaks its exchange off, and the connection goes on.
func TestDetachedPanics(t *testing.T) {
	e := &echo{finished: make(chan error, 1), told: func() { panic("in arrived") }}
	w := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			e.ServeHTTP(w, r)
		}
	})
	requests, writer := io.Pipe()
	defer writer.Close()
	resp, err := w.client.Do(w.request(t, http.MethodPost, "/", requests))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for got := []byte{0}; err == nil; { // what comes before the handler has returned is read by itself, and comes back
		io.WriteString(writer, "a")
		_, err = io.ReadFull(resp.Body, got)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the answer was not broken off: %v", err)
	}
	<-e.finished
	if resp, _ := w.do(t, w.request(t, http.MethodGet, "/other", nil)); resp.StatusCode != http.StatusOK {
		t.Errorf("another request = %d", resp.StatusCode)
	}
}
