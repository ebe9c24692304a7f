package lab_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const limitsIP = "10.96.0.80"

func TestAbuseAndSize(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", limitsIP, "app: server", http80))
	sides := []string{client, "deploy/server-v1"}
	t.Run("an_idle_sidecar_is_small", func(t *testing.T) {
		const limit = 10_000 // kB, a second after the start: by then a sidecar has let go of what only the start needed
		for _, side := range sides {
			eventually(t, "an idle sidecar of at most 10 MB", func() bool { return m.rss(t, side) <= limit })
			all, own := m.rss(t, side), m.memory(t, side, "RssAnon:")
			t.Logf("sidecar of %s: %.1f MB, of which %.1f MB are its own", side, float64(all)/1000, float64(own)/1000)
		}
	})
	t.Run("a_thousand_connections_at_once", func(t *testing.T) { manyConnections(t, m) })
	t.Run("slow_clients_disturb_nobody", func(t *testing.T) { slowClients(t, m) })
	t.Run("a_megabyte_of_headers_is_refused", func(t *testing.T) {
		conn := m.dialTo(t, client, limitsIP+":80")
		go func() { // the answer comes before the end
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: server\r\nX-Big: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
		}()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", resp.StatusCode)
		}
		if a := m.do(t, client, http.MethodGet, limitsIP+":80", "/"); a.StatusCode != http.StatusOK {
			t.Errorf("the next request: status %d", a.StatusCode)
		}
	})
	t.Run("a_large_body_is_streamed", func(t *testing.T) { largeBody(t, m, sides) })
}

// rss gives a sidecar's resident memory in kB.
func (m *mesh) rss(t *testing.T, name string) int {
	t.Helper()
	return m.memory(t, name, "VmRSS:")
}

// memory reads one line of /proc/PID/status.
func (m *mesh) memory(t *testing.T, name, kind string) int {
	t.Helper()
	_, out, errOut := m.exec(t, name, "cat", "/proc/"+strconv.Itoa(m.sidecar(t, name).PID)+"/status")
	lines := keep(out, kind)
	if len(lines) != 1 {
		t.Fatalf("no %s in %q, %s", kind, out, errOut)
	}
	kb, err := strconv.Atoi(strings.Fields(lines[0])[1])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// dialTo connects out of a pod, for the length of the test.
func (m *mesh) dialTo(t *testing.T, name, address string) net.Conn {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(name), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// manyConnections opens all, then asks on each, so that all are there at the same time.
func manyConnections(t *testing.T, m *mesh) {
	t.Helper()
	const n, askers = 1000, 8
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = m.dialTo(t, client, limitsIP+":80")
	}
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for a := range askers {
		wg.Go(func() {
			for i := a; i < n; i += askers {
				errs <- ask(conns[i])
			}
		})
	}
	wg.Wait()
	close(errs)
	failed, first := 0, error(nil)
	for err := range errs {
		if err != nil {
			failed++
			first = cmp.Or(first, err)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d connections failed, the first with: %v", failed, n, first)
	}
}

// ask makes one request on a connection and leaves it open.
func ask(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET /status/204 HTTP/1.1\r\nHost: server\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// slowClients sends requests of which a byte comes every second, beside an ordinary load.
func slowClients(t *testing.T, m *mesh) {
	t.Helper()
	const clients, head = 20, "GET /slow HTTP/1.1\r\nHost: server\r\n"
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = m.dialTo(t, client, limitsIP+":80")
	}
	wait := m.begin(t, client, "http://server/", "--rate", "100", "--concurrency", "4", "--for", "3s")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for sent := range 4 {
		for _, c := range conns {
			if _, err := io.WriteString(c, head[sent:sent+1]); err != nil {
				t.Fatalf("byte %d: %v", sent, err)
			}
		}
		if sent < 3 {
			<-ticker.C
		}
	}
	if r := wait(); r.Failed > 0 || r.Requests < 50 {
		t.Errorf("the others: %+v", r)
	}
	for i, c := range conns { // patience is rewarded
		if _, err := io.WriteString(c, head[4:]+"\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("slow client %d: %v, %+v", i, err, resp)
		}
		resp.Body.Close()
	}
}

// letters is an endless body.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte{'x'}, min(len(p), 32<<10))), nil
}

// largeBody moves a body each way and watches the sidecars' memory.
func largeBody(t *testing.T, m *mesh, sides []string) {
	t.Helper()
	size := int64(256 << 20)
	if long {
		size = 5 << 30
	}
	before := map[string]int{}
	for _, side := range sides {
		before[side] = m.rss(t, side)
	}
	grown := func(when string) {
		const limit = 40 << 10 // kB
		for _, side := range sides {
			if more := m.rss(t, side) - before[side]; more > limit {
				t.Errorf("%s: the sidecar of %s grew by %d kB", when, side, more)
			} else {
				t.Logf("%s: the sidecar of %s grew by %d kB", when, side, more)
			}
		}
	}
	c := m.client(t, client, limitsIP+":80")
	c.Timeout = 10 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://server/bytes/%d", size), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	half, err := io.CopyN(io.Discard, resp.Body, size/2)
	if err != nil {
		t.Fatal(err)
	}
	grown("half of the download")
	rest, err := io.Copy(io.Discard, resp.Body)
	if err != nil || half+rest != size {
		t.Errorf("download of %d bytes ended after %d: %v", size, half+rest, err)
	}
	t.Logf("download: %.0f MB/s", float64(size)/1e6/time.Since(begun).Seconds())

	begun = time.Now()
	req, err = http.NewRequestWithContext(ctx, http.MethodPost, "http://server/upload", io.LimitReader(letters{}, size))
	if err != nil {
		t.Fatal(err)
	}
	resp, err = c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if want := fmt.Sprintf(`"bodyLength": %d`, size); err != nil || !strings.Contains(string(raw), want) {
		t.Errorf("upload: %v, %s, want %s", err, raw, want)
	}
	t.Logf("upload: %.0f MB/s", float64(size)/1e6/time.Since(begun).Seconds())
	grown("after the upload")
}
