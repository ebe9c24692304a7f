package remote

import (
	"cmp"
	"slices"
	"time"
)

// State says how it stands with a cluster. Synced, Syncing and Timeout are Istio's words.
type State string

// The states.
const (
	Synced  State = "synced"
	Syncing State = "syncing" // it has not said yet what it has
	Timeout State = "timeout" // as Syncing, for too long
	Stale   State = "stale"   // it said what it has, and nothing can be heard of it now
	Refused State = "refused" // what is declared cannot be followed
)

// Status is how it stands with one cluster, or with one declaration in vain.
type Status struct {
	Name string
	By   string // who declares it
	State
	// Age is how old what is known of it may be; 0 where it is followed.
	Age time.Duration
	// Cause says why it is not followed.
	Cause   string
	Objects int
}

// Statuses lists the clusters by name.
func (s *Set) Statuses(now time.Time) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.clusters)+len(s.refused))
	for _, c := range s.clusters {
		out = append(out, c.status(now))
	}
	for r, why := range s.refused {
		out = append(out, Status{Name: r.name, By: r.by, State: Refused, Cause: why})
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.By, b.By)) })
	return out
}

func (c *cluster) status(now time.Time) Status {
	out := Status{Name: c.name, By: c.by, State: Synced, Objects: len(c.known), Cause: c.failed}
	if c.source == nil {
		out.State = Refused
		return out
	}
	since, cause := c.source.Trouble()
	out.Cause = cmp.Or(cause, c.failed, c.unusable)
	if since.IsZero() || since.Before(c.began) {
		since = c.began
	}
	switch {
	case c.heard && cause == "" && c.failed == "":
	case c.everDone:
		out.State, out.Age = Stale, max(0, now.Sub(since))
	case now.Sub(c.began) > syncTimeout:
		out.State = Timeout
	default:
		out.State = Syncing
	}
	return out
}
