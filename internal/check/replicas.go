package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// each collects what a question to every replica brought, and the pods that did not answer it.
func each[T any](replicas []Replica, question func(*Replica) Got[T]) (answers []T, silent []string) {
	for i := range replicas {
		got := question(&replicas[i])
		if got.Err != nil {
			silent = append(silent, fmt.Sprintf("pod %s: %v", replicas[i].Pod, got.Err))
			continue
		}
		answers = append(answers, got.Value)
	}
	return answers, silent
}

// proxies are the connected sidecars of all replicas by ID. One that just moved is with two: the later one counts.
func (f *Facts) proxies() []Proxy {
	lists, _ := each(f.Replicas, func(r *Replica) Got[[]Proxy] { return r.Proxies })
	byID := map[string]Proxy{}
	for _, p := range slices.Concat(lists...) {
		if have, ok := byID[p.ID]; !ok || p.Since.After(have.Since) {
			byID[p.ID] = p
		}
	}
	all := make([]Proxy, 0, len(byID))
	for _, p := range byID {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Proxy) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// quiet is how long a confirmation may take before it is worth a word: rollouts and slow starts take seconds.
const quiet = 30 * time.Second
