package lab_test

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

// frames reads and writes what HTTP/2 needs of it.
const frames = `
import socket, struct, threading
def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
def read(conn, n):
    got = b""
    while len(got) < n:
        more = conn.recv(n - len(got))
        if not more: raise EOFError
        got += more
    return got
def receive(conn):
    head = read(conn, 9)
    return head[3], head[4], struct.unpack(">I", head[5:])[0], read(conn, int.from_bytes(head[:3], "big"))
`

// disowning is an app that disowns every second request, the first of them first: it has done nothing, and says so.
const disowning = frames + `
lock, came = threading.Lock(), 0
def serve(conn):
    global came
    try:
        read(conn, 24)
        conn.sendall(frame(4, 0, 0))
        while True:
            kind, flags, stream, _ = receive(conn)
            if kind == 4 and not flags & 1: conn.sendall(frame(4, 1, 0))
            if kind == 6 and not flags & 1: conn.sendall(frame(6, 1, 0, _))
            if kind != 1: continue
            with lock:
                came += 1
                disowned = came % 2 == 1
            conn.sendall(frame(3, 0, stream, struct.pack(">I", 7)) if disowned else frame(1, 5, stream, b"\x88"))
    except (EOFError, OSError): pass
server = socket.create_server(("", 8080))
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
`

// posts makes one POST by HTTP/2, and prints whether it was answered 200.
const posts = frames + `
conn = socket.create_connection(("disowning", 80), 20)
conn.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, b"\x83\x86\x84\x01\x09disowning"))
while True:
    kind, flags, stream, payload = receive(conn)
    if stream == 1 and kind in (1, 3):
        print("200" if kind == 1 and payload[:1] == b"\x88" else "not 200")
        break
`

// TestInboundRetries: of a caller without a sidecar, the called sidecar sends once more what its app has disowned, unless the mesh
// has switched that off. Then the caller is told, and the app gets nothing that the caller has not sent.
func TestInboundRetries(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options []func(*lab.UpOptions)
		want    []string
	}{
		"by_default":   {nil, []string{"200", "200", "200"}},
		"switched_off": {[]func(*lab.UpOptions){func(o *lab.UpOptions) { o.Mesh = append(o.Mesh, "mesh.inboundRetries=false") }}, []string{"not 200", "200", "not 200"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMesh(t, strings.Replace(pythonApp("disowning", "", disowning), "name: http,", "name: http2,", 1)+
				app{name: "outside", replicas: 1, bare: true}.String(), tt.options...)
			for i, want := range tt.want {
				code, out, errOut := m.exec(t, "deploy/outside-v1", "python3", "-c", posts)
				if got := strings.TrimSpace(out); code != 0 || got != want {
					t.Errorf("POST %d: %q, exit code %d %s; want %s", i+1, got, code, errOut, want)
				}
			}
		})
	}
}
