package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

// failuresEvery is how often a sidecar is asked for failures that are new.
const failuresEvery = 2 * time.Second

// failureStream prints failures as they come. A sidecar counts all that it ever remembered, so that none is shown twice, and those that it
// has forgotten between two questions are told.
type failureStream struct {
	out, notes io.Writer
	filter     *failureFilter
	json       bool

	begun bool
	seen  uint64 // of those that the sidecar has counted
}

// followFailures prints what page has, and then what is new, until ctx ends or the sidecar cannot be asked any more.
func followFailures(ctx context.Context, s *failureStream, page *admin.Failures, again func() (*admin.Failures, error)) error {
	for {
		if err := s.show(page, time.Now()); err != nil {
			return err
		}
		timer := time.NewTimer(failuresEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		var err error
		if page, err = again(); err != nil {
			return err
		}
	}
}

// show prints what of a page was not shown yet, the oldest first.
func (s *failureStream) show(page *admin.Failures, now time.Time) error {
	rows := page.Failures // the latest first
	switch total := page.Total; {
	case !s.begun && !s.json:
		if _, err := fmt.Fprintf(s.out, failureLine, "TIME", "DIRECTION", "STATUS", "REQUEST", "PEER", "TOOK", "CAUSE"); err != nil {
			return err
		}
	case !s.begun:
	case total < s.seen:
		fmt.Fprintf(s.notes, "fairlead: the sidecar of %s.%s has begun anew\n", page.Pod, page.Namespace)
	default:
		if fresh := total - s.seen; fresh > uint64(len(rows)) {
			fmt.Fprintf(s.notes, "fairlead: %d more failed and were forgotten before they could be shown\n", fresh-uint64(len(rows)))
		} else {
			rows = rows[:fresh]
		}
	}
	first := !s.begun
	s.begun, s.seen = true, page.Total
	filter := *s.filter
	if !first {
		filter.last, filter.since = 0, 0 // they are about what was before
	}
	rows = filter.keep(rows, now)
	for i := range slices.Backward(rows) {
		if err := s.line(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

const failureLine = "%-12s  %-9s  %-8s  %s  %s  %s  %s\n"

func (s *failureStream) line(f *admin.Failure) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(f)
	}
	_, err := fmt.Fprintf(s.out, failureLine, f.Start.Local().Format("15:04:05.000"), f.Direction, failureStatus(f), failedRequest(f),
		failurePeer(f), took(f.DurationMS), failureCause(f))
	return err
}
