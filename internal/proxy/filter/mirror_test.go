package filter

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

const missing = 9

// copies are what endpoints of mirrors got. One takes nothing before open is closed.
type copies struct {
	open chan struct{}
	run  sync.WaitGroup

	mu  sync.Mutex
	got []string
}

func newCopies() *copies {
	return &copies{open: make(chan struct{})}
}

// start runs a copy.
func (c *copies) start(f func(context.Context)) {
	c.run.Go(func() { f(context.Background()) })
}

// Copy implements Copier.
func (c *copies) Copy(_ *Call, backend int) Send {
	if backend == missing {
		return nil
	}
	return func(ctx context.Context, body *Copied) CopyEnd {
		select {
		case <-c.open:
		case <-ctx.Done():
		}
		var got []byte
		for {
			p, last, err := body.Take(ctx)
			got = append(got, p...)
			if err == nil && !last {
				continue
			}
			said := strconv.Itoa(backend) + ":" + string(got)
			if f := body.Trailers(); f != nil {
				said += "+" + string(f.Get("x-sum"))
			}
			end := CopySent
			if err != nil {
				said, end = said+"!", CopyBroken
			}
			c.mu.Lock()
			c.got = append(c.got, said)
			c.mu.Unlock()
			return end
		}
	}
}

// all are what was got, once all that goes out has ended.
func (c *copies) all() []string {
	c.run.Wait()
	slices.Sort(c.got)
	return c.got
}

// counted are the counts of copies that were not made or broken off, without those that are 0.
func counted(t *testing.T, m *Mirror) string {
	t.Helper()
	var page bytes.Buffer
	chain := new(Chain)
	chain.add(Held, m)
	if err := chain.WriteMetrics(&page); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(page.String()) {
		if !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0\n") {
			out = append(out, strings.TrimSuffix(strings.TrimPrefix(line, "fairlead_mirror_"), "\n"))
		}
	}
	return strings.Join(out, ", ")
}

func trailers() *httpx.Fields {
	var f httpx.Fields
	f.AddString("x-sum", "7")
	return &f
}

// feed has a mirror filter take a request whose body comes in pieces.
func feed(t *testing.T, m *Mirror, call *Call, pieces ...string) *MirroredBody {
	t.Helper()
	if err := m.Request(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64) // whoever reads uses it again
	for _, p := range pieces {
		call.Mirrored.Add(buf[:copy(buf, p)])
	}
	return call.Mirrored
}

func TestMirror(t *testing.T) {
	to := func(of ...plan.Mirror) plan.Route { return plan.Route{Mirrors: of} }
	all := to(plan.Mirror{Backend: 1, Percent: 100})
	for _, tt := range []struct {
		name    string
		route   plan.Route
		do      func(*testing.T, *Mirror, *Call)
		want    []string
		counted string
	}{
		{"whole", to(plan.Mirror{Backend: 1, Percent: 100}, plan.Mirror{Backend: 2}, plan.Mirror{Backend: 3, Percent: 100}), func(t *testing.T, m *Mirror, c *Call) {
			c.Body, c.Whole, c.Trailers = []byte("small"), true, trailers()
			if feed(t, m, c) != nil {
				t.Error("it wants more")
			}
		}, []string{"1:small+7", "3:small+7"}, ""},
		{"without_a_body", all, func(t *testing.T, m *Mirror, c *Call) {
			c.Whole = true
			feed(t, m, c)
		}, []string{"1:"}, ""},
		{"in_pieces", all, func(t *testing.T, m *Mirror, c *Call) {
			c.Body = []byte("a")
			feed(t, m, c, "b", "", "c").End(trailers())
			c.Mirrored.Cut() // comes in the end of every request
		}, []string{"1:abc+7"}, ""},
		{"the_request_is_cut", all, func(t *testing.T, m *Mirror, c *Call) {
			body := feed(t, m, c, "a", "b")
			synctest.Wait() // the copy has begun
			body.Cut()
		}, []string{"1:!"}, `cut_total{reason="incomplete"} 1`},
		{"before_its_body", all, func(t *testing.T, m *Mirror, c *Call) { feed(t, m, c).Cut() }, nil, `skipped_total{reason="incomplete"} 1`},
		{"nothing_there", to(plan.Mirror{Backend: missing, Percent: 100}), func(t *testing.T, m *Mirror, c *Call) { feed(t, m, c) }, nil, `skipped_total{reason="no_endpoint"} 1`},
		{"another_protocol", all, func(t *testing.T, m *Mirror, c *Call) {
			c.Request.Upgrade = []byte("websocket")
			feed(t, m, c)
		}, nil, `skipped_total{reason="switches_protocols"} 1`},
		{"tunnel", all, func(t *testing.T, m *Mirror, c *Call) {
			c.Request.Method = []byte("CONNECT")
			feed(t, m, c)
		}, nil, `skipped_total{reason="switches_protocols"} 1`},
		{"no_mirror", to(), func(t *testing.T, m *Mirror, c *Call) {
			feed(t, m, c, "a").End(nil)
			c.Mirrored.Cut()
		}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := newCopies()
				m := NewMirror(sent.start)
				tt.do(t, m, callOf(tt.route, sent))
				synctest.Wait() // what was begun has a way to be told
				close(sent.open)
				if got := sent.all(); !slices.Equal(got, tt.want) {
					t.Errorf("the copies are %q, want %q", got, tt.want)
				}
				if got := counted(t, m); got != tt.counted {
					t.Errorf("counted %s, want %s", got, tt.counted)
				}
				if len(m.slots) != 0 || m.held.Load() != 0 {
					t.Errorf("%d places and %d bytes are left over", len(m.slots), m.held.Load())
				}
			})
		})
	}
}

// A mirror that takes nothing costs so much memory and no more, alone and with others.
func TestMirrorBounds(t *testing.T) {
	const piece = 64 << 10
	all := plan.Route{Mirrors: []plan.Mirror{{Backend: 1, Percent: 100}}}
	for _, tt := range []struct {
		name     string
		requests int
		pieces   int // of each request
		counted  string
		copies   int
	}{
		{"as_far_behind_as_it_may_be", 1, maxMirrorLag / piece, "", 1},
		{"too_far", 1, maxMirrorLag/piece + 1, `cut_total{reason="slow"} 1`, 1},
		{"as_much_memory_as_there_is", maxMirrorHeld / maxMirrorLag, maxMirrorLag / piece, "", maxMirrorHeld / maxMirrorLag},
		{"too_much", maxMirrorHeld/maxMirrorLag + 3, maxMirrorLag / piece, `skipped_total{reason="memory"} 3`, maxMirrorHeld / maxMirrorLag},
		{"as_many_as_there_may_be", maxMirrors, 0, "", maxMirrors},
		{"too_many", maxMirrors + 3, 0, `skipped_total{reason="too_many"} 3`, maxMirrors},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := newCopies()
				m := NewMirror(sent.start)
				var bodies []*MirroredBody
				for range tt.requests {
					body := feed(t, m, callOf(all, sent))
					for range tt.pieces {
						body.Add(make([]byte, piece))
						synctest.Wait() // the copy has begun
					}
					bodies = append(bodies, body)
				}
				if held := m.held.Load(); held > maxMirrorHeld {
					t.Errorf("%d bytes are held", held)
				}
				for _, b := range bodies {
					b.End(nil)
				}
				synctest.Wait()
				close(sent.open)
				if got := sent.all(); len(got) != tt.copies {
					t.Errorf("%d copies, want %d", len(got), tt.copies)
				}
				if got := counted(t, m); got != tt.counted {
					t.Errorf("counted %s, want %s", got, tt.counted)
				}
				if len(m.slots) != 0 || m.held.Load() != 0 {
					t.Errorf("%d places and %d bytes are left over", len(m.slots), m.held.Load())
				}
			})
		})
	}
}

// A copy that falls too far behind before its goroutine has run was never sent, and is counted so.
func TestMirrorThatNeverBegan(t *testing.T) {
	var begin func(context.Context)
	m := NewMirror(func(f func(context.Context)) { begin = f })
	sent := newCopies()
	body := feed(t, m, callOf(plan.Route{Mirrors: []plan.Mirror{{Backend: 1, Percent: 100}}}, sent))
	body.Add(make([]byte, maxMirrorLag))
	body.Add([]byte("x"))
	begin(t.Context())
	if got := sent.all(); len(got) != 0 {
		t.Errorf("%d copies, want none", len(got))
	}
	if got, want := counted(t, m), `skipped_total{reason="slow"} 1`; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
	if len(m.slots) != 0 || m.held.Load() != 0 {
		t.Errorf("%d places and %d bytes are left over", len(m.slots), m.held.Load())
	}
}

// A copy that is given up is so at once, wherever its endpoint has it wait.
func TestMirrorCutReachesWhoeverSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var run sync.WaitGroup
		m := NewMirror(func(f func(context.Context)) { run.Go(func() { f(t.Context()) }) })
		var cause error
		c := newCopied(m, func(ctx context.Context, body *Copied) CopyEnd {
			if p, last, err := body.Take(ctx); string(p) != "a" || last || err != nil {
				t.Errorf("Take = %q, %t, %v", p, last, err)
			}
			<-ctx.Done() // an endpoint that does not read
			cause = context.Cause(ctx)
			return CopyBroken
		})
		body := &MirroredBody{copies: []*Copied{c}}
		body.Add([]byte("a"))
		synctest.Wait()
		body.Cut()
		body.Add([]byte("b"))
		body.End(nil)
		run.Wait()
		if !errors.Is(cause, errCopyCut) {
			t.Errorf("cut by %v", cause)
		}
		if got := counted(t, m); got != `cut_total{reason="incomplete"} 1` {
			t.Error(got)
		}
	})
}
