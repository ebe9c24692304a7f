package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	appDiesIP    = "10.96.0.100"
	calledDiesIP = "10.96.0.101"
	staysIP      = "10.96.0.102"
	staysPlainIP = "10.96.0.103"
)

// webSocketAsk asks to switch protocols; the frame that follows the answer is sent back.
const webSocketAsk = "GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello"

// downloads are the ways to carry what never ends by itself. begin reads a first part of it and gives the rest.
var downloads = []struct {
	name  string
	begin func(context.Context, *mesh, string, string) (io.Reader, error)
	// delimited says that the message itself tells where it ends. Without, an app whose process is killed ends it in an
	// orderly way, for its kernel does, with a mesh and without.
	delimited bool
}{
	{"http1_chunked", asking(":80", "GET /stream?count=100000&interval=20ms HTTP/1.1\r\nHost: server\r\n\r\n"), true},
	{"http1_length", asking(":80", "GET /bytes/60000000000 HTTP/1.1\r\nHost: server\r\n\r\n"), true},
	{"http10_client", asking(":80", "GET /stream?count=100000&interval=20ms HTTP/1.0\r\nHost: server\r\n\r\n"), true},
	{"upgraded", asking(":80", webSocketAsk), false},
	{"http2", overHTTP2, true},
	{"tcp", overTCP, false},
}

// asking makes an HTTP/1.x request and reads the first bytes of what follows the head of the answer.
func asking(port, request string) func(context.Context, *mesh, string, string) (io.Reader, error) {
	return func(ctx context.Context, m *mesh, from, ip string) (io.Reader, error) {
		conn, err := m.talk(ctx, from, ip+port, request)
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, err
		}
		body := io.Reader(resp.Body)
		if resp.StatusCode == http.StatusSwitchingProtocols {
			body = r
		}
		return begun(body)
	}
}

func overHTTP2(ctx context.Context, m *mesh, from, ip string) (io.Reader, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.talk(context.WithoutCancel(ctx), from, ip+":80", "")
	}}
	context.AfterFunc(ctx, tr.CloseIdleConnections)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server/stream?count=100000&interval=20ms", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { resp.Body.Close() })
	return begun(resp.Body)
}

func overTCP(ctx context.Context, m *mesh, from, ip string) (io.Reader, error) {
	conn, err := m.talk(ctx, from, ip+":9000", "hello")
	if err != nil {
		return nil, err
	}
	return begun(conn)
}

// begun reads the first bytes of what has no end.
func begun(body io.Reader) (io.Reader, error) {
	_, err := io.ReadFull(body, make([]byte, 5))
	return body, err
}

// talk opens a connection out of a pod, until ctx ends, and says something on it.
func (m *mesh) talk(ctx context.Context, from, to, text string) (net.Conn, error) {
	conn, err := m.DialPod(ctx, pod(from), to)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, text)
	return conn, err
}

// TestDeathsAreCuts: whoever is killed in the middle of an answer, its reader sees that it was cut, and never takes it
// for a shorter one.
func TestDeathsAreCuts(t *testing.T) {
	t.Parallel()
	ports := http80 + ", {name: tcp-echo, port: 9000}"
	server := func(name string) app { return app{name: name, replicas: 1, args: `--tcp, "9000"`} }
	plain := server("stays-plain")
	plain.bare = true
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "leaver", replicas: 1}.String()+
		app{name: "outsider", replicas: 1, bare: true}.String()+
		server("app-dies").String()+service("app-dies", appDiesIP, "app: app-dies", ports)+
		server("called-dies").String()+service("called-dies", calledDiesIP, "app: called-dies", ports)+
		server("stays").String()+service("stays", staysIP, "app: stays", ports)+
		plain.String()+service("stays-plain", staysPlainIP, "app: stays-plain", ports))
	const outsider, leaver = "deploy/outsider-v1", "deploy/leaver-v1"
	for _, death := range []struct {
		name, victim, container string
		routes                  [][2]string // who calls which address
	}{
		{"app", "deploy/app-dies-v1", "app", [][2]string{{client, appDiesIP}, {outsider, appDiesIP}}},
		{"called_sidecar", "deploy/called-dies-v1", "proxy", [][2]string{{client, calledDiesIP}, {outsider, calledDiesIP}}},
		{"calling_sidecar", leaver, "proxy", [][2]string{{leaver, staysIP}, {leaver, staysPlainIP}}},
	} {
		t.Run(death.name, func(t *testing.T) {
			t.Parallel()
			m.watchDeath(t, death.victim, death.container, death.routes)
		})
	}
}

// watchDeath begins every kind of download on each route, kills a process, and reads on.
func (m *mesh) watchDeath(t *testing.T, victim, container string, routes [][2]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type ending struct {
		name      string
		delimited bool
		err       error
	}
	endings := make(chan ending, len(routes)*len(downloads))
	var readers sync.WaitGroup
	for _, route := range routes {
		for _, d := range downloads {
			name := fmt.Sprintf("%s from %s of %s", d.name, route[0], route[1])
			rest, err := d.begin(ctx, m, route[0], route[1])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			readers.Go(func() {
				_, err := io.Copy(io.Discard, rest)
				endings <- ending{name, d.delimited, err}
			})
		}
	}
	m.kill(t, victim, container)
	readers.Wait()
	close(endings)
	for e := range endings {
		timeout := net.Error(nil)
		switch {
		case errors.As(e.err, &timeout) && timeout.Timeout():
			t.Errorf("%s: not heard of the death of %s (%s)", e.name, victim, container)
		case e.err == nil && (e.delimited || container == "proxy"):
			t.Errorf("%s: looks whole after the death of %s (%s)", e.name, victim, container)
		default:
			t.Logf("%s: %v", e.name, e.err)
		}
	}
}

// kill ends the process of a container with SIGKILL.
func (m *mesh) kill(t *testing.T, name, container string) {
	t.Helper()
	p := m.find(t, name)
	for _, c := range p.Containers {
		if c.Name != container {
			continue
		}
		if code, _, errOut := m.exec(t, name, "sh", "-c", "kill -9 "+strconv.Itoa(c.PID)); code != 0 {
			t.Fatalf("kill: %s", errOut)
		}
		return
	}
	t.Fatalf("pod %s has no container %s: %+v", p.Name, container, p.Containers)
}
