package controlplane

import (
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/store"
)

// serviceView keeps the Services as they are compiled for people, so that dashboards do not cost the control plane what the mesh needs.
// All who ask share one answer. It is compiled anew when something has changed, and after that not before it has rested
// restFactor times as long as that took: at most a tenth of a processor goes there, however many look and whatever changes. What is
// older than the latest change is so by that time at most, plus that until a page asks again.
type serviceView struct {
	mu   sync.Mutex // held while compiling: who comes meanwhile waits for the same answer
	of   store.Snapshot
	all  []observe.Service
	rest time.Time
}

const restFactor = 9

// get gives the Services of a snapshot, or of one that is a little older. The answer is not to be changed.
func (v *serviceView) get(of store.Snapshot, compile func() []observe.Service) []observe.Service {
	v.mu.Lock()
	defer v.mu.Unlock()
	began := time.Now()
	if v.all != nil && (v.of == of || began.Before(v.rest)) {
		return v.all
	}
	v.of, v.all = of, compile()
	now := time.Now()
	v.rest = now.Add(restFactor * now.Sub(began))
	return v.all
}

// services compiles those of all namespaces.
func (d described) services() []observe.Service {
	list := store.List[model.Service](d.r)
	out := make([]observe.Service, 0, len(list))
	for _, s := range list {
		out = append(out, d.service(s))
	}
	return out
}
