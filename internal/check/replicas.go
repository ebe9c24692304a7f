package check

import (
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/admin"
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

// proxies are the connected sidecars of all replicas by ID.
func (f *Facts) proxies() []admin.Proxy {
	lists, _ := each(f.Replicas, func(r *Replica) Got[[]admin.Proxy] { return r.Proxies })
	return admin.Merge(lists...)
}

// quiet is how long a confirmation may take before it is worth a word: rollouts and slow starts take seconds.
const quiet = 30 * time.Second
