package otlp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOutputs: an equal key keeps its output and what waits there; what is not chosen any more sends what it holds, is counted for
// good, and does not hold up whoever chooses until too many such outputs have a collector that does not answer.
func TestOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taking := &collector{answer: taken}
		stuck := &collector{answer: func(ctx context.Context, _ int) (*Answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		options := func(s Sender) func() Options {
			return func() Options {
				return Options{To: "test", Dialect: JSONList("/", nil), Sender: s, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler)}
			}
		}
		var all Outputs
		var a, again *Output
		all.Change(func(c *Choice) {
			a = c.Use([]string{"a"}, options(taking))
			if c.Use([]string{"a"}, func() Options { panic("it is there") }) != a {
				t.Error("an equal key has another output in one choice")
			}
		})
		add(a.Queue, "1")
		all.Change(func(c *Choice) { again = c.Use([]string{"a"}, func() Options { panic("it is in use") }) })
		if again != a {
			t.Error("an equal key has another output in the next choice")
		}
		begun := time.Now()
		for i := range maxEnding + 1 { // a, and others that nobody answers
			all.Change(func(c *Choice) { add(c.Use(i, options(stuck)).Queue, "x") })
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("choosing has waited %v for outputs that end", took)
		}
		if got := strings.Join(taking.bodies(), " "); got != "[1]" {
			t.Errorf("what was left of the first is %q", got)
		}
		all.Change(func(c *Choice) { c.Use("more", options(stuck)) })
		if took := time.Since(begun); took != lastTime {
			t.Errorf("with %d outputs that end choosing has waited %v, want %v", maxEnding, took, lastTime)
		}
		all.Close()
		if took := time.Since(begun); took > 2*lastTime {
			t.Errorf("the end took %v", took)
		}
		if c := all.Counts(); c != (Counts{Sent: 1, Failed: maxEnding + 1}) {
			t.Errorf("counts %+v", c)
		}
		all.Change(func(*Choice) { t.Error("there is a choice after the end") })
	})
}

// TestOffered: 20,000 items a second to a collector that is away, that takes them slowly, or answers garbage. Whoever adds never
// waits; the ring is all that is kept; each item is counted once, and the log says it once.
func TestOffered(t *testing.T) {
	tests := []struct {
		name   string
		answer func(ctx context.Context, n int) (*Answer, error)
		full   bool // there is not always a place
		says   int  // lines of the log
	}{
		{"away", func(context.Context, int) (*Answer, error) { return nil, errors.New("connection refused") }, true, 1},
		{"slow", func(ctx context.Context, n int) (*Answer, error) {
			time.Sleep(time.Second)
			return taken(ctx, n)
		}, true, 0},
		{"silent", func(ctx context.Context, _ int) (*Answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, true, 1},
		{"garbage", func(context.Context, int) (*Answer, error) {
			return &Answer{Status: 599, Body: []byte("\x00\xff what\r\n")}, nil
		}, false, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const seconds, rate = 3, 20_000
				log := &lines{}
				c := &collector{answer: tt.answer}
				var all Outputs
				var o *Output
				all.Change(func(choice *Choice) {
					o = choice.Use("a", func() Options {
						return Options{To: "test", Dialect: JSONList("/", nil), Sender: c, Timeout: 3 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))}
					})
				})
				item := []byte(strings.Repeat("x", 600))
				held := 0
				for range seconds * 100 {
					before := time.Now()
					for range rate / 100 {
						if s := o.Reserve(); s != nil {
							o.Commit(s, append(s.Buffer(), item...))
						}
					}
					if took := time.Since(before); took != 0 {
						t.Fatalf("adding has waited %v", took)
					}
					held = max(held, o.Len())
					time.Sleep(10 * time.Millisecond)
				}
				all.Close()
				n := all.Counts()
				t.Logf("%+v, at most %d in the ring, %d lines", n, held, log.n)
				if sum := n.Sent + n.Full + n.Refused + n.Failed; sum != seconds*rate || n.Full > 0 != tt.full {
					t.Errorf("%+v are %d items of %d", n, sum, seconds*rate)
				}
				if held > Places {
					t.Errorf("%d items wait, more than there are places", held)
				}
				if log.n != tt.says {
					t.Errorf("the log has %d lines, want %d", log.n, tt.says)
				}
			})
		})
	}
}

// lines counts lines of a log.
type lines struct{ n int }

func (l *lines) Write(b []byte) (int, error) {
	l.n += strings.Count(string(b), "\n")
	return len(b), nil
}
