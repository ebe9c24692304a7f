package kube

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
)

// confirmations is how often in a row a kind must be missing before what is known of it is given up. A server that
// starts, or one behind a load balancer that is older than the others, may not know a CRD yet.
const confirmations = 2

// discovery finds out which custom kinds are served, and in which version.
type discovery struct {
	client *apiserver.Client
	out    *outbox
	health *health
	timing timing
	kinds  []*offer
	poke   chan struct{} // one slot: look now
}

// offer is a custom kind and what is known of it.
type offer struct {
	kind    *config.Kind
	version chan string // one slot, newest only: the version to follow, or "" where the kind is absent
	told    bool        // something was put into version
	last    string      // what was put
	missed  int         // how often in a row it was missing since it was served
}

// tell passes on what is served now.
func (o *offer) tell(version string) {
	if version == "" && o.last != "" {
		o.missed++
		if o.missed < confirmations {
			return
		}
	}
	o.missed = 0
	if o.told && o.last == version {
		return
	}
	o.told, o.last = true, version
	select {
	case <-o.version: // the former one was not taken
	default:
	}
	o.version <- version
}

// look asks to look soon.
func (d *discovery) look() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (d *discovery) run(ctx context.Context, groups []string) {
	fast := pause{timing: d.timing}
	for ctx.Err() == nil {
		complete := true
		for _, group := range groups {
			if err := d.group(ctx, group); err != nil && ctx.Err() == nil {
				complete = false
				d.fail(ctx, group, err)
			}
		}
		if !complete {
			fast.wait(ctx)
			continue
		}
		fast.reset()
		d.rest(ctx)
	}
}

// rest waits for the next look. One that was asked for comes sooner, but not at once: the follower that asks just got
// an answer that may change yet.
func (d *discovery) rest(ctx context.Context) {
	timer := time.NewTimer(d.timing.discovery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-d.poke:
		timer.Reset(d.timing.first)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// group looks at one API group.
func (d *discovery) group(ctx context.Context, group string) error {
	var of []*offer
	var versions []string
	for _, o := range d.kinds {
		if o.kind.Group != group {
			continue
		}
		of = append(of, o)
		for _, v := range o.kind.Versions {
			if !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
	}
	served := make(map[string]string) // version by kind
	for _, version := range versions {
		offered, err := offers(ctx, d.client, group, version)
		if err != nil {
			return err
		}
		for name := range offered {
			if served[name] == "" {
				served[name] = version
			}
		}
		if !slices.ContainsFunc(of, func(o *offer) bool { return served[o.kind.Name] == "" }) {
			break
		}
	}
	for _, o := range of {
		o.tell(served[o.kind.Name])
	}
	return nil
}

// fail notes that a group could not be looked at. An account that may not even do that does without its kinds.
func (d *discovery) fail(ctx context.Context, group string, err error) {
	for _, o := range d.kinds {
		if o.kind.Group != group || o.told {
			continue
		}
		if apierrors.IsForbidden(err) {
			d.out.listed(subject{kind: o.kind})
		}
		d.health.fail(ctx, subject{kind: o.kind}, "discover", err)
	}
}
