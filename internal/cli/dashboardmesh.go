package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/dashboard"
	"fairlead.dev/fairlead/internal/observe"
)

// dashboardMesh is a mesh for the dashboard: it asks as the commands do, with the same rights.
type dashboardMesh struct {
	app  *app
	mesh *mesh
}

// About implements dashboard.Mesh.
func (d dashboardMesh) About(ctx context.Context) (dashboard.About, error) {
	places, err := d.mesh.controllers(ctx)
	return dashboard.About{Mesh: d.mesh.kind, Name: d.mesh.name, Replicas: len(places)}, err
}

// maxAnswer bounds what a replica answers, in bytes.
const maxAnswer = 256 << 20

// Ask implements dashboard.Mesh.
func (d dashboardMesh) Ask(ctx context.Context, view string, query url.Values) (dashboard.Answers, error) {
	places, err := d.mesh.controllers(ctx)
	if err != nil {
		return dashboard.Answers{}, err
	}
	token, err := d.mesh.proof(ctx)
	if err != nil {
		return dashboard.Answers{}, err
	}
	question := admin.Question{Path: observe.PathViews + view + "?" + query.Encode(), Token: token}
	bodies, err := readAll(ctx, places, func(c admin.Client, ctx context.Context) (body []byte, err error) {
		err = c.Observe(ctx, question, func(r io.Reader) error {
			body, err = io.ReadAll(io.LimitReader(r, maxAnswer))
			return err
		})
		return body, explainObserved(err)
	})
	switch {
	case len(bodies) == 0:
		return dashboard.Answers{}, err
	case err != nil:
		return dashboard.Answers{Bodies: bodies, Missing: "a part may be missing: " + oneLine(err)}, nil
	}
	return dashboard.Answers{Bodies: bodies}, nil
}

// followAgain is after how long a replica that was lost is asked again.
const followAgain = time.Second

// Follow implements dashboard.Mesh.
func (d dashboardMesh) Follow(ctx context.Context, heard func(dashboard.Heard)) {
	var (
		mu    sync.Mutex
		asked = map[string]bool{}
		wg    sync.WaitGroup
	)
	defer wg.Wait()
	for {
		places, err := d.mesh.controllers(ctx)
		if err != nil && ctx.Err() == nil {
			heard(dashboard.Heard{Lost: err})
		}
		mu.Lock()
		for i := range places {
			p := &places[i]
			if asked[p.name] {
				continue
			}
			asked[p.name] = true
			wg.Go(func() {
				err := d.follow(ctx, p, heard)
				if ctx.Err() == nil {
					heard(dashboard.Heard{Lost: fmt.Errorf("%s: %w", p.name, err)})
				}
				mu.Lock()
				defer mu.Unlock()
				delete(asked, p.name)
			})
		}
		mu.Unlock()
		timer := time.NewTimer(followAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// follow listens to one replica until it is lost. What it says first is news, too: it may be another one than before.
func (d dashboardMesh) follow(ctx context.Context, p *place, heard func(dashboard.Heard)) error {
	token, err := d.mesh.proof(ctx)
	if err != nil {
		return err
	}
	stream, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(tapSilence, func() { cancel(errSilent) })
	defer silent.Stop()
	query := url.Values{"namespace": {d.app.namespace}}
	question := admin.Question{Path: observe.PathViews + observe.ViewChanges + "?" + query.Encode(), Token: token}
	err = admin.Client{Dial: p.dial}.Observe(stream, question, func(r io.Reader) error {
		lines := json.NewDecoder(r)
		for before := (*observe.Changes)(nil); ; {
			var now observe.Changes
			if err := lines.Decode(&now); err != nil {
				return err
			}
			silent.Reset(tapSilence)
			news := observe.Changes{Config: 1, Problems: 1, Traffic: 1}
			if before != nil {
				news = now.Since(*before)
			}
			if news != (observe.Changes{}) {
				heard(dashboard.Heard{Changes: news})
			}
			before = &now
		}
	})
	if errors.Is(context.Cause(stream), errSilent) {
		return errSilent
	}
	return explainObserved(err)
}

// Tap implements dashboard.Mesh.
func (d dashboardMesh) Tap(ctx context.Context, q *observe.Query, sink dashboard.TapSink) error {
	t := &tapper{mesh: d.mesh, query: q, notes: noteWriter{sink}, print: newSinkPrinter(sink), hear: sink.Began}
	return t.run(ctx)
}

// noteWriter hands the notes of a tap on.
type noteWriter struct{ sink dashboard.TapSink }

// Write implements io.Writer.
func (n noteWriter) Write(line []byte) (int, error) {
	text := strings.TrimPrefix(strings.TrimSpace(string(line)), "fairlead: ")
	return len(line), n.sink.Note(text)
}

// sinkPrinter hands requests on, with the lines that the command prints.
type sinkPrinter struct {
	numbers *tapPrinter
	sink    dashboard.TapSink
}

func newSinkPrinter(sink dashboard.TapSink) sinkPrinter {
	return sinkPrinter{newTapPrinter(nil, ""), sink}
}

func (p sinkPrinter) event(e *observe.Event) error {
	return p.sink.Request(e, tapLines(e, p.numbers.number(e.Pod), tapForm{first: true}))
}

// Sidecar implements dashboard.Mesh.
func (d dashboardMesh) Sidecar(ctx context.Context, pod string) (admin.Client, error) {
	namespace, name, ok := strings.Cut(pod, "/")
	if !ok {
		return admin.Client{}, fmt.Errorf("%q is no pod: write namespace/name", pod)
	}
	p, err := d.mesh.sidecar(ctx, name+"."+namespace)
	return admin.Client{Dial: p.dial}, err
}

// Object implements dashboard.Mesh.
func (d dashboardMesh) Object(ctx context.Context, o observe.ObjectName) (string, error) {
	return d.mesh.object(ctx, o)
}
