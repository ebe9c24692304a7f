package remote

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/model"
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
	// Misnamed says what is wrong with the name that the cluster has for itself; empty where that is the one that it is declared by,
	// or it does not say it. It is followed all the same: an object of another cluster has no say in whether that is.
	Misnamed *Misnamed
	// Clock says how far its clock is from this one's, empty where it is near.
	Clock string
}

// Misnamed is a cluster that does not call itself what it is declared as, or not alone.
type Misnamed struct {
	Itself string    // what it calls itself
	By     model.Ref // the object that says it
	Reason string    // for the user, in one line
}

// Statuses lists the clusters by name.
func (s *Set) Statuses(now time.Time) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.clusters)+len(s.refused))
	itself := make(map[string][]string) // declared names, by what the clusters call themselves
	for _, c := range s.clusters {
		itself[c.itself] = append(itself[c.itself], c.name)
	}
	for _, c := range s.clusters {
		status := c.status(now)
		if reason := misnamed(s.o.Own, c.name, c.itself, itself[c.itself]); reason != "" {
			status.Misnamed = &Misnamed{c.itself, model.Ref{Kind: c.saidBy.kind, Key: c.saidBy.key, Cluster: c.name}, reason}
		}
		out = append(out, status)
	}
	for r, why := range s.refused {
		out = append(out, Status{Name: r.name, By: r.by, State: Refused, Cause: why})
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.By, b.By)) })
	return out
}

// misnamed says what is wrong where a cluster that is declared as one name calls itself another one, or one that is not its alone;
// namesakes are the declared names of all other clusters that call themselves so, its own included.
func misnamed(own, declared, itself string, namesakes []string) string {
	const advice = "give each cluster a mesh.clusterID of its own"
	switch {
	case itself == "":
		return ""
	case itself == own:
		return fmt.Sprintf("it calls itself %s, as this cluster does: two clusters have one name, and what goes by names of clusters takes one for the other; %s", own, advice)
	case len(namesakes) > 1:
		others := slices.DeleteFunc(slices.Sorted(slices.Values(namesakes)), func(n string) bool { return n == declared })
		return fmt.Sprintf("it calls itself %s, and so does the cluster that is declared as %s: two clusters have one name, or one is declared twice; %s, or remove one",
			itself, strings.Join(others, ", "), advice)
	case itself != declared:
		return fmt.Sprintf("it is declared as %s and calls itself %s: declare it by its own name", declared, itself)
	}
	return ""
}

// tolerated is by how much clocks may differ. Certificates are valid two minutes before they are made, by the clock of who makes them.
const tolerated = 30 * time.Second

// clockText says how far a clock is from this one's, that is ahead by so much.
func clockText(ahead time.Duration) string {
	how := "ahead of"
	if ahead < 0 {
		how = "behind"
	}
	if ahead.Abs() < tolerated {
		return ""
	}
	return fmt.Sprintf("the clock of its API server is %s %s this control plane's: from two minutes on certificates of one cluster are not valid yet in the other; see that both keep time (NTP)",
		ahead.Abs().Round(time.Second), how)
}

func (c *cluster) status(now time.Time) Status {
	out := Status{Name: c.name, By: c.by, State: Synced, Objects: len(c.known), Cause: c.failed}
	if c.source == nil {
		out.State = Refused
		return out
	}
	since, cause := c.source.Trouble()
	out.Cause, out.Clock = cmp.Or(cause, c.failed, c.unusable), clockText(c.source.Skew())
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
