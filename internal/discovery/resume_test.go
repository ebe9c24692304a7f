package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/plan"
)

// two starts two replicas with one source and gives a client that knows both.
func two(t *testing.T, source *fakeSource, h Handler, settings ...func(*ClientOptions)) (a, b *world, c *Client) {
	t.Helper()
	a, b = start(t, source), start(t, source)
	settings = append(settings, func(o *ClientOptions) { o.Addrs = []string{a.addr, b.addr} })
	c = a.client(t, h, settings...)
	return a, b, c
}

func TestResumeOnAnotherReplicaSendsOnlyDifferences(t *testing.T) {
	source := newFakeSource()
	s1, s2 := shard("eps/users:8080/s1", "10.0.0.1:8080"), shard("eps/users:8080/s2", "10.0.0.2:8080")
	source.set(t, alias, users("a"), s1, s2)
	h := newRecorder()
	a, b, c := two(t, source, h)
	run(t, c)
	await(t, c, alias, "host/nobody:80")
	first, second := a, b
	if len(a.server.Status()) == 0 {
		first, second = b, a
	}
	h.take()
	// While no replica is there the shard changes, and one goes.
	first.stop()
	source.set(t, alias, users("a"), shard(s1.Name, "10.0.0.9:8080"))
	h.line(t, s2.Name+" dropped")
	if diff := cmp.Diff([]string{s1.Name, s2.Name + " dropped"}, h.take()); diff != "" {
		t.Errorf("updates after the change of replica (-want +got):\n%s", diff)
	}
	if len(second.server.Status()) != 1 {
		t.Errorf("status of the second replica = %+v", second.server.Status())
	}
	await(t, c, alias, "host/nobody:80") // known all the time
}

func TestResumeAfterRestartSendsNothingTwice(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	w := start(t, source)
	h := newRecorder()
	c := w.client(t, h)
	run(t, c)
	await(t, c, alias)
	h.take()
	w.stop()
	eventually(t, "the client notices", func() bool { return !c.Connected() })
	synced := c.LastSync()

	var wire traffic
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, source, wire.hook)
	eventually(t, "the client is in step again", func() bool { return c.LastSync().After(synced) })
	if answers := wire.untilSynced(t); len(answers) != 0 {
		t.Errorf("sent at the resumption: %q", answers)
	}
	if lines := h.take(); len(lines) != 0 {
		t.Errorf("the handler got %q", lines)
	}
}

func TestResumeAfterGivingUpANameWhileAway(t *testing.T) {
	source := newFakeSource()
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	a, b, h := start(t, source), start(t, source), newRecorder()
	var mu sync.Mutex
	target := a.addr
	c := a.client(t, h, func(o *ClientOptions) {
		o.Addrs = []string{"controller:15012"}
		o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			addr := target
			mu.Unlock()
			if addr == "" {
				return nil, errors.New("no control plane there")
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	})
	run(t, c)
	await(t, c, alias)
	mu.Lock()
	target = ""
	mu.Unlock()
	a.stop()
	eventually(t, "the client notices", func() bool { return !c.Connected() })
	c.mu.Lock()
	delete(c.names, alias) // given up, and the control plane not told any more
	c.mu.Unlock()
	mu.Lock()
	target = b.addr
	mu.Unlock()
	h.until(t, "the rest is dropped", func(state map[string]plan.Resource, _ []string) bool { return len(state) == 0 })
}

func TestReconnectStorm(t *testing.T) {
	const clients, names = 80, 20
	source := newFakeSource()
	for i := range names {
		d := users("a")
		d.Name = fmt.Sprintf("dst/myapp/s%d:80", i)
		source.set(t, fmt.Sprintf("host/s%d:80", i), d, shard(fmt.Sprintf("eps/s%d:80/x", i), "10.0.0.1:80"))
	}
	h := newRecorder()
	w := start(t, source)
	var all []*Client
	for i := range clients {
		c := w.client(t, h, func(o *ClientOptions) {
			o.Token = func() (string, error) { return fmt.Sprintf("token-of-p%d", i), nil }
		})
		for n := range names {
			c.Subscribe(fmt.Sprintf("host/s%d:80", n))
		}
		run(t, c)
		all = append(all, c)
	}
	for _, c := range all {
		await(t, c, fmt.Sprintf("host/s%d:80", names-1))
	}
	w.server.Close() // all of them lose it at the same moment
	source.mu.Lock()
	source.servers = nil
	source.mu.Unlock()
	w.stop()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	again := serve(t, l, source)
	eventually(t, "every client is back", func() bool {
		status := again.server.Status()
		return len(status) == clients && !slices.ContainsFunc(status, func(s ClientStatus) bool { return !s.Synced })
	})
	source.set(t, "host/s0:80", nil)
	for _, c := range all {
		eventually(t, "every client has heard", func() bool { return c.Versions()["dst/myapp/s0:80"] == "" })
	}
}

// TestTime runs in simulated time, over pipes.
func TestTime(t *testing.T) {
	// begin makes a control plane and a client inside a bubble. end stops both.
	begin := func(t *testing.T, source *fakeSource, h Handler, server setting) (w *world, l *pipeListener, c *Client, end func()) {
		t.Helper()
		l = newPipeListener()
		w = serve(t, l, source, server)
		c = w.client(t, h, func(o *ClientOptions) { o.Dial = l.Dial })
		stop := run(t, c)
		return w, l, c, func() { stop(); w.stop(); synctest.Wait() }
	}
	t.Run("use_renews_the_lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, h := newFakeSource(), newRecorder()
			source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
			_, _, c, end := begin(t, source, h, func(*ServerOptions) {})
			defer end()
			await(t, c, alias)
			for range 5 {
				sleep(DefaultLease - time.Second)
				c.Use(alias)
			}
			h.take()
			sleep(DefaultLease * 3 / 4)
			if lines := h.take(); len(lines) != 0 {
				t.Errorf("within the lease: %q", lines)
			}
			sleep(DefaultLease / 2)
			if len(c.Versions()) != 0 || source.watches() != 0 {
				t.Errorf("after the lease: Versions = %v, %d watches", c.Versions(), source.watches())
			}
			want := []string{alias + " expired", "dst/myapp/users:8080 dropped", "eps/users:8080/s1 dropped"}
			if diff := cmp.Diff(want, h.take()); diff != "" {
				t.Errorf("updates (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("a_name_in_use_does_not_expire", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, h := newFakeSource(), newRecorder()
			source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
			_, _, c, end := begin(t, source, h, func(*ServerOptions) {})
			defer end()
			await(t, c, alias)
			h.use(alias, true)
			sleep(24 * time.Hour)
			h.use(alias, false)
			if len(c.Versions()) != 2 {
				t.Fatalf("Versions = %v after a day of use", c.Versions())
			}
			sleep(2 * DefaultLease)
			if len(c.Versions()) != 0 || source.watches() != 0 {
				t.Errorf("after the lease: Versions = %v, %d watches", c.Versions(), source.watches())
			}
		})
	})
	t.Run("nothing_expires_while_the_control_plane_is_away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, h := newFakeSource(), newRecorder()
			source.set(t, alias, users("a"), shard("eps/users:8080/s1"))
			var line atomic.Pointer[pipeListener]
			connect := func() *world {
				line.Store(newPipeListener())
				return serve(t, line.Load(), source)
			}
			w := connect()
			c := w.client(t, h, func(o *ClientOptions) {
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					return line.Load().Dial(ctx, network, addr)
				}
			})
			stop := run(t, c)
			defer stop()
			await(t, c, alias)
			sleep(DefaultLease - time.Second)
			w.stop()
			sleep(3 * DefaultLease)
			if len(c.Versions()) != 2 || c.Connected() {
				t.Errorf("after three leases: Versions = %v, Connected = %v", c.Versions(), c.Connected())
			}
			w = connect()
			defer w.stop()
			sleep(DefaultLease - time.Second)
			if len(c.Versions()) != 2 || !c.Connected() {
				t.Errorf("within a lease since it is back: Versions = %v, Connected = %v", c.Versions(), c.Connected())
			}
		})
	})
	t.Run("old_streams_end_in_order_and_resume", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, h := newFakeSource(), newRecorder()
			source.set(t, alias, users("a"))
			var opened atomic.Int32
			_, _, c, end := begin(t, source, h, func(o *ServerOptions) {
				o.MaxAge = 30 * time.Minute
				o.Trace.Opened = func(ClientIdentity) { opened.Add(1) }
			})
			defer end()
			c.Subscribe(alias)
			await(t, c, alias)
			sleep(100 * time.Minute)
			if n := opened.Load(); n < 3 || n > 5 || !c.Connected() {
				t.Errorf("%d streams in 100 minutes, connected %v; want 4 give or take the jitter", n, c.Connected())
			}
			if lines := h.take(); len(lines) != 1 {
				t.Errorf("updates %q, want the first answer only", lines)
			}
		})
	})
	t.Run("a_dead_server_is_noticed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			source, h := newFakeSource(), newRecorder()
			l := newPipeListener()
			w := serve(t, l, source)
			var line *stallable
			c := w.client(t, h, func(o *ClientOptions) {
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if line != nil {
						return nil, errors.New("no route")
					}
					conn, err := l.Dial(ctx, network, addr)
					line = &stallable{Conn: conn, gone: make(chan struct{})}
					return line, err
				}
			})
			stop := run(t, c)
			defer func() { stop(); w.stop() }()
			await(t, c, "mesh")
			sleep(time.Minute)
			if !c.Connected() {
				t.Fatal("an idle connection did not survive a minute")
			}
			close(line.gone) // the cable is pulled: nothing arrives, no error either
			sleep(11 * time.Second)
			if c.Connected() {
				t.Error("the client still believes in the connection after 11 s")
			}
			sleep(10 * time.Second)
			if n := len(w.server.Status()); n != 0 {
				t.Errorf("the server still has %d clients after 21 s", n)
			}
		})
	})
	t.Run("attempts_back_off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newPipeListener()
			w := serve(t, l, newFakeSource())
			var attempts atomic.Int32
			c := w.client(t, newRecorder(), func(o *ClientOptions) {
				o.Dial = func(context.Context, string, string) (net.Conn, error) {
					attempts.Add(1)
					return nil, errors.New("refused")
				}
			})
			stop := run(t, c)
			defer func() { stop(); w.stop() }()
			sleep(time.Second)
			early := attempts.Load()
			sleep(time.Minute)
			if late := attempts.Load() - early; early < 3 || early > 8 || late < 12 || late > 26 {
				t.Errorf("%d attempts in the first second, %d in the minute after; want a handful, then one per 2.5 to 5 s", early, late)
			}
		})
	})
}

// sleep lets simulated time pass.
func sleep(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// stallable is a connection on which nothing arrives any more after gone is closed.
type stallable struct {
	net.Conn
	gone chan struct{}
}

func (s *stallable) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.gone:
		if err == nil {
			return s.Read(b) // lost on the way
		}
	default:
	}
	return n, err
}

func (s *stallable) Write(b []byte) (int, error) {
	select {
	case <-s.gone:
		return len(b), nil
	default:
		return s.Conn.Write(b)
	}
}

func TestRefusedTokenIsLoggedOnce(t *testing.T) {
	w := start(t, newFakeSource())
	var log lockedBuffer
	c := w.client(t, newRecorder(), func(o *ClientOptions) {
		o.Token = func() (string, error) { return "forged", nil }
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	stop := run(t, c)
	eventually(t, "the refusal is logged", func() bool {
		return strings.Contains(log.String(), "UNAUTHENTICATED: the token is signed by another authority")
	})
	_, _, err := c.Sign(t.Context(), []byte("csr"))
	if err == nil || !strings.Contains(err.Error(), "UNAUTHENTICATED") {
		t.Errorf("Sign = %v, want UNAUTHENTICATED", err)
	}
	stop()
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines logged, want 1:\n%s", n, log.String())
	}
}

// unjudged is the error of a judge that cannot be asked, or of one that says so of itself without being it.
type unjudged struct{ temporary bool }

func (u unjudged) Error() string   { return "the API server is away" }
func (u unjudged) Temporary() bool { return u.temporary }

func TestTokenThatNobodyJudgedIsNotRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"temporary", fmt.Errorf("token review: %w", unjudged{true}), "UNAVAILABLE: token review: the API server is away"},
		{"not_temporary", unjudged{false}, "UNAUTHENTICATED: the API server is away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := start(t, newFakeSource(), func(o *ServerOptions) {
				o.Authenticate = func(context.Context, string) (ClientIdentity, error) { return ClientIdentity{}, tc.err }
			})
			_, _, err := w.client(t, newRecorder()).Sign(t.Context(), []byte("csr"))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Sign = %v, want %s", err, tc.want)
			}
		})
	}
}

func TestSign(t *testing.T) {
	bundle := &plan.TrustBundle{TrustDomain: "a", Aliases: []string{"b"}, Roots: []string{"own", "other"}, RootDomains: []string{"", "b"}}
	w := start(t, newFakeSource(), func(o *ServerOptions) {
		o.Sign = func(_ context.Context, client ClientIdentity, csr []byte) (chain []byte, trust *plan.TrustBundle, err error) {
			if string(csr) == "bad" {
				return nil, nil, errors.New("the request is not PKCS #10")
			}
			return []byte("chain for " + client.ID() + " " + string(csr)), bundle, nil
		}
	})
	c := w.client(t, newRecorder())
	chain, trust, err := c.Sign(t.Context(), []byte("csr"))
	if diff := cmp.Diff(bundle, trust); err != nil || string(chain) != "chain for orders-1.myapp csr" || diff != "" {
		t.Errorf("Sign = %q, %v (-want +got):\n%s", chain, err, diff)
	}
	_, _, err = c.Sign(t.Context(), []byte("bad"))
	want := "certificate from " + w.addr + ": INVALID_ARGUMENT: the request is not PKCS #10"
	if err == nil || err.Error() != want {
		t.Errorf("Sign = %v, want %s", err, want)
	}
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
