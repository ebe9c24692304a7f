package admin

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory and hold nothing: what is not read blocks its writer.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error { return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// scrape asks for metrics and reads only the start of the answer.
func (p pipes) scrape(t *testing.T) (net.Conn, *http.Response) {
	t.Helper()
	client, server := net.Pipe()
	p <- server
	if _, err := io.WriteString(client, "GET /stats/prometheus HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(client, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	return client, resp
}

// TestMetricsReadersAreBounded: readers that do not read hold a few pages for a short while, wherever they come from.
func TestMetricsReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Metrics{Write: func(w io.Writer) error { // more than what a server keeps before it writes
			_, err := io.WriteString(w, strings.Repeat("requests_total 1\n", 4096))
			return err
		}}
		l := make(pipes)
		s := &http.Server{Handler: Sidecar{Metrics: m, Ready: func() string { return "" }}.Public()}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		var held []net.Conn
		for i := range maxReaders {
			conn, resp := l.scrape(t)
			if held = append(held, conn); resp.StatusCode != http.StatusOK {
				t.Fatalf("reader %d: status %d", i, resp.StatusCode)
			}
		}
		conn, resp := l.scrape(t)
		if held = append(held, conn); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("one reader more: status %d, want 503", resp.StatusCode)
		}
		time.Sleep(readerTime + time.Second)
		synctest.Wait()
		conn, resp = l.scrape(t)
		page, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK || err != nil || len(page) < 10<<10 {
			t.Errorf("after the slow ones were cut: status %d, %d bytes, %v", resp.StatusCode, len(page), err)
		}
		for _, c := range append(held, conn) {
			c.Close()
		}
		close(l)
		<-done
	})
}
