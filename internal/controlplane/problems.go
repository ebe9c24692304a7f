package controlplane

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
)

// stage says at which step a problem was found.
type stage int

const (
	foundInReading stage = iota
	foundInObjects
	foundInChecks
	foundInEncoding
	foundInConsul
	foundInRegistering // of Services in its catalog, as the next one
	foundInCatalog
	foundInClusters // in what they call themselves
	stages
)

// problems holds everything that is wrong at present. Each is logged once when it appears and once when it is gone.
// It is safe for concurrent use.
type problems struct {
	log  *slog.Logger
	feed *observe.Feed

	mu   sync.Mutex
	here [stages][]model.Problem // guarded by mu
}

// set replaces the problems of one step.
func (p *problems) set(ctx context.Context, at stage, list []model.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, after := lines(p.here[at]), lines(list)
	p.here[at] = list
	if !slices.Equal(before, after) {
		p.feed.Note(func(c *observe.Changes) { c.Problems++ })
	}
	for _, line := range after {
		if _, known := slices.BinarySearch(before, line); !known {
			p.log.LogAttrs(ctx, slog.LevelWarn, "configuration problem", slog.String("problem", line))
		}
	}
	for _, line := range before {
		if _, still := slices.BinarySearch(after, line); !still {
			p.log.LogAttrs(ctx, slog.LevelInfo, "configuration problem solved", slog.String("problem", line))
		}
	}
}

// lines gives the problems as text, sorted, each once.
func lines(list []model.Problem) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].String()
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// list gives all problems, ordered by place, then by object.
func (p *problems) list() []model.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Concat(p.here[:]...)
	slices.SortStableFunc(all, func(a, b model.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), strings.Compare(a.String(), b.String()))
	})
	return all
}

// rejected counts the objects that are not in force as written.
func (p *problems) rejected() int {
	refused := make(map[model.Ref]bool)
	for _, problem := range p.list() {
		if problem.Severity == model.Rejected {
			refused[problem.Ref] = true
		}
	}
	return len(refused)
}

// unsendable turns encoding errors into problems.
func unsendable(errs map[string]error) []model.Problem {
	list := make([]model.Problem, 0, len(errs))
	for name, err := range errs {
		list = append(list, model.Problem{
			Ref: model.Ref{Kind: "Resource", Key: model.Key{Name: name}}, Severity: model.Rejected, Message: err.Error(),
		})
	}
	return list
}
