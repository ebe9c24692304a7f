package xds

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	_ "google.golang.org/grpc/xds" // has xds:/// resolved
)

// report is what came of calls.
type report struct {
	Answered map[string]int `json:"answered"`
	Failed   int            `json:"failed"`
	Error    string         `json:"error"`
}

// caller is an app that dials one target.
type caller interface {
	call(t *testing.T, n int) report
}

// library is one of those that have an xDS client.
type library struct {
	name string
	dial func(t *testing.T, target string) caller
}

// libraries are those that there are.
func libraries() []library {
	list := []library{{"grpc-go", dialGo}}
	dir := os.Getenv("FAIRLEAD_PROXYLESS")
	if dir == "" {
		return list
	}
	program := func(argv ...string) func(*testing.T, string) caller {
		return func(t *testing.T, target string) caller { return dialProgram(t, dir, append(argv, target)) }
	}
	classes := filepath.Join(dir, "java")
	return append(list,
		library{"grpc-js", program("node", filepath.Join(dir, "client.js"))},
		library{"grpcio", program("python3", filepath.Join(dir, "client.py"))},
		library{"grpc-java", program("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes+":"+classes+"/*", "Client")},
	)
}

// inProcess is an app of grpc-go within the test.
type inProcess struct{ health grpc_health_v1.HealthClient }

func dialGo(t *testing.T, target string) caller {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return inProcess{grpc_health_v1.NewHealthClient(conn)}
}

func (c inProcess) call(t *testing.T, n int) report {
	t.Helper()
	return c.callWith(t, n, nil)
}

func (c inProcess) callWith(t *testing.T, n int, headers metadata.MD) report {
	t.Helper()
	r := report{Answered: map[string]int{}}
	for range n {
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), headers), 20*time.Second)
		var head metadata.MD
		_, err := c.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&head))
		cancel()
		if err != nil {
			r.Failed++
			r.Error = err.Error()
			continue
		}
		r.Answered[head.Get("x-backend")[0]]++
	}
	return r
}

// program is an app of another library, in a process of its own that is told by HTTP what to do.
type program struct{ address string }

func dialProgram(t *testing.T, dir string, argv []string) caller {
	t.Helper()
	listener, err := net.Listen("tcp", address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String() // of no other process's network
	listener.Close()
	cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], address)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(dir, "python"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := program{address}
	eventually(t, argv[0]+" to listen", func() (string, bool) {
		_, err := p.get(t, 0)
		return fmt.Sprint(err), err == nil
	})
	return p
}

func (p program) call(t *testing.T, n int) report {
	t.Helper()
	r, err := p.get(t, n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (p program) get(t *testing.T, n int) (r report, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/call?n=%d", p.address, n), http.NoBody)
	if err != nil {
		return r, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(raw, &r)
	return r, err
}
