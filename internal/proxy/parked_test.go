package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// parkedConn gives a connection on which a request was answered and that waits without a goroutine since, in the sidecar that took
// it: by a caller's, or by the door for plain callers of a workload.
func parkedConn(t *testing.T, limits plan.Limits) map[string]func(*testing.T) (*sidecar, *net.TCPConn, *bufio.Reader) {
	t.Helper()
	park := func(t *testing.T, s *sidecar, addr string) (*sidecar, *net.TCPConn, *bufio.Reader) {
		t.Helper()
		s.lot.After = time.Millisecond
		s.limits.put(limits)
		c := dial(t, addr)
		r := bufio.NewReader(c)
		ask(t, c, "/")
		answer(t, r)
		if limits.Idle == 0 {
			s.waits(t, 1)
		}
		return s, c, r
	}
	return map[string]func(*testing.T) (*sidecar, *net.TCPConn, *bufio.Reader){
		"outbound": func(t *testing.T) (*sidecar, *net.TCPConn, *bufio.Reader) {
			t.Helper()
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.serveApp(users, says("done"))
			orders.apply(service(model.HTTP, users.endpoint(8080))...)
			return park(t, orders, m.entrance(orders, usersAddr()))
		},
		"inbound": func(t *testing.T) (*sidecar, *net.TCPConn, *bufio.Reader) {
			t.Helper()
			m := newMesh(t)
			users := m.sidecar("users")
			m.plainApp(app(users), says("done"))
			users.apply(permissive(8080, model.HTTP))
			return park(t, users, m.plainly(users, app(users)))
		},
	}
}

// waits waits until so many connections are parked.
func (s *sidecar) waits(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " connections are parked"), func() bool { return s.lot.Waiting() == n })
}

func expectEnd(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("read %v, want the end", err)
	}
}

func TestParkedConnection(t *testing.T) {
	for side, parked := range parkedConn(t, plan.Limits{}) {
		t.Run(side, func(t *testing.T) {
			t.Run("answers", func(t *testing.T) {
				s, c, r := parked(t)
				for range 3 {
					ask(t, c, "/")
					answer(t, r)
					s.waits(t, 1)
				}
			})
			t.Run("answers what comes at once and in pieces", func(t *testing.T) {
				s, c, r := parked(t)
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nG")
				answer(t, r)
				answer(t, r)
				io.WriteString(c, "ET / HTTP/1.1\r\nHost: x\r\n\r\n")
				answer(t, r)
				s.waits(t, 1)
			})
			t.Run("answers a client that ends its direction", func(t *testing.T) {
				_, c, r := parked(t)
				ask(t, c, "/")
				c.CloseWrite()
				answer(t, r)
				expectEnd(t, r)
			})
			t.Run("ends with its client", func(t *testing.T) {
				s, c, _ := parked(t)
				c.Close()
				s.waits(t, 0)
				eventually(t, "it is over", func() bool { return s.active.Load() == 0 })
			})
			t.Run("ends when the sidecar drains", func(t *testing.T) {
				s, c, r := parked(t)
				s.leave()
				if side == "inbound" { // the client has not heard of it
					s.departure.leaving.Give()
					ask(t, c, "/")
					if resp := answer(t, r); !resp.Close {
						t.Error("the answer does not say that it is the last")
					}
				}
				expectEnd(t, r)
			})
		})
	}
}

func TestParkedPlainConnectionEndsWhenStrictComes(t *testing.T) {
	users, c, r := parkedConn(t, plan.Limits{})["inbound"](t)
	users.apply(strict())
	expectEnd(t, r)
	c.Close()
}

func TestParkedConnectionEndsWhenItHasBeenIdleForLong(t *testing.T) {
	for side, parked := range parkedConn(t, plan.Limits{Idle: 50 * time.Millisecond}) {
		t.Run(side, func(t *testing.T) {
			s, _, r := parked(t)
			expectEnd(t, r)
			s.waits(t, 0)
		})
	}
}
