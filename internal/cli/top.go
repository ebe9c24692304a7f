package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fairlead.dev/fairlead/internal/observe"
)

const (
	// topDraw is how often the screen is drawn.
	topDraw = 500 * time.Millisecond
	// topPrint is how often the table is printed where there is no screen.
	topPrint = 10 * time.Second
	// topScroll is how many columns of the screen a key scrolls by.
	topScroll = 20
)

// newTopCommand is "fairlead top": the requests of a resource, counted.
func newTopCommand(a *app) *cobra.Command {
	var f tapFlags
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top RESOURCE [flags]",
		Short: "Count the requests from and to pods as they happen, by path",
		Long: "Count the requests from and to pods as they happen, by source, destination, method and path: a screen that is drawn twice\n" +
			"a second, or, where the output is no terminal, the table every ten seconds and at the end. RESOURCE is as with fairlead tap.",
		Example: "  fairlead top deploy/users-v1 -n myapp\n" +
			"  fairlead top ns/myapp --to svc/users-service --routes --hide-sources",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			if err := f.read(m, args); err != nil {
				return err
			}
			top := &top{table: newTopTable(o)}
			t := &tapper{mesh: m, query: &f.query, notes: a.Err, print: top, limit: f.limit}
			if out, ok := a.Out.(*os.File); !ok || !term.IsTerminal(int(out.Fd())) {
				return printTop(cmd.Context(), a.Out, t, top)
			}
			return showTop(cmd.Context(), t, top)
		},
	}
	f.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&o.hideSources, "hide-sources", false, "do not tell sources apart")
	cmd.Flags().BoolVar(&o.routes, "routes", false, "by route in place of method and path")
	a.addLabFlag(cmd)
	return cmd
}

// top is what a tap has counted. Its methods are safe for concurrent use. As an io.Writer it keeps the newest note.
type top struct {
	mu    sync.Mutex
	table *topTable
	note  string
}

func (t *top) event(e *observe.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.add(e)
	return nil
}

// Write implements io.Writer.
func (t *top) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note = strings.TrimSpace(string(b))
	return len(b), nil
}

// lines are the table's, and the newest note.
func (t *top) lines() (table []string, note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b bytes.Buffer
	_ = t.table.view().Write(&b) // a buffer takes everything
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n"), t.note
}

// printTop prints the table now and then, and at the end.
func printTop(ctx context.Context, out io.Writer, t *tapper, top *top) error {
	var printing sync.WaitGroup
	defer printing.Wait()
	over, end := context.WithCancel(ctx)
	defer end()
	written := make(chan error, 1)
	printing.Go(func() {
		defer close(written)
		tick := time.NewTicker(topPrint)
		defer tick.Stop()
		for {
			select {
			case <-over.Done():
				return
			case <-tick.C:
			}
			if err := top.print(out); err != nil {
				written <- err
				end()
				return
			}
		}
	})
	err := t.run(over)
	end()
	if failed := <-written; failed != nil {
		return failed
	}
	if len(top.table.rows) > 0 {
		err = errors.Join(err, top.print(out))
	}
	return err
}

// print prints the table.
func (t *top) print(out io.Writer) error {
	table, _ := t.lines()
	_, err := io.WriteString(out, strings.Join(table, "\n")+"\n\n")
	return err
}

// showTop draws the table on the terminal until the user has enough.
func showTop(ctx context.Context, t *tapper, top *top) error {
	screen, err := tcell.NewScreen()
	if err != nil {
		return err
	}
	if err := screen.Init(); err != nil {
		return err
	}
	notes := t.notes
	t.notes = top
	err = topScreen{screen, top}.run(ctx, t.run)
	screen.Fini()
	if _, note := top.lines(); note != "" {
		_, _ = notes.Write([]byte(note + "\n")) // what stood there last is still of use
	}
	return err
}

// topScreen draws a top.
type topScreen struct {
	tcell.Screen

	top *top
}

// run draws while work runs. It ends with it, or when the user quits.
func (s topScreen) run(ctx context.Context, work func(context.Context) error) error {
	var working sync.WaitGroup
	defer working.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	keys, quit := make(chan tcell.Event), make(chan struct{})
	working.Go(func() { s.ChannelEvents(keys, quit) })
	defer close(quit)
	done := make(chan error, 1)
	working.Go(func() { done <- work(ctx) })
	tick := time.NewTicker(topDraw)
	defer tick.Stop()
	across := 0
	for {
		s.draw(across)
		select {
		case err := <-done:
			return err
		case <-tick.C:
		case event, ok := <-keys:
			if !ok {
				return errors.New("the terminal is gone")
			}
			if quits(event) {
				return nil
			}
			across = max(0, across+scrolls(event))
		}
	}
}

// quits reports whether an event is a user's who has enough.
func quits(event tcell.Event) bool {
	key, ok := event.(*tcell.EventKey)
	return ok && (key.Key() == tcell.KeyCtrlC || key.Key() == tcell.KeyEscape || key.Rune() == 'q')
}

// scrolls says by how many columns of the screen an event scrolls to the right.
func scrolls(event tcell.Event) int {
	key, ok := event.(*tcell.EventKey)
	switch {
	case !ok:
		return 0
	case key.Key() == tcell.KeyRight || key.Rune() == 'd':
		return topScroll
	case key.Key() == tcell.KeyLeft || key.Rune() == 'a':
		return -topScroll
	}
	return 0
}

// draw draws the table from a column of it on; the newest note stands in the last line.
func (s topScreen) draw(across int) {
	table, note := s.top.lines()
	s.Clear()
	s.write(0, "(press q to quit)", tcell.StyleDefault)
	s.write(1, "(press a/LeftArrowKey to scroll left, d/RightArrowKey to scroll right)", tcell.StyleDefault)
	_, height := s.Size()
	for i, line := range table {
		style := tcell.StyleDefault
		if i == 0 {
			style = style.Bold(true)
		}
		if runes := []rune(line); i+3 < height-1 && across < len(runes) {
			s.write(i+3, string(runes[across:]), style)
		}
	}
	s.write(height-1, note, tcell.StyleDefault.Dim(true))
	s.Show()
}

func (s topScreen) write(y int, text string, style tcell.Style) {
	for x, r := range []rune(text) {
		s.SetContent(x, y, r, nil, style)
	}
}
