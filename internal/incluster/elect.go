package incluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The times of the election, those of Kubernetes' own components.
const (
	// leaseDuration is how long a lease that is not renewed keeps others out.
	leaseDuration = 15 * time.Second
	// renewDeadline is how long a leader that cannot renew goes on leading. What is left of the lease is for the work
	// to end in.
	renewDeadline = 10 * time.Second
	// retryPeriod is the pause between two looks at the lease, and between two renewals.
	retryPeriod = 2 * time.Second
	// leaseTimeout bounds one request about the lease, so that one that hangs leaves time for another.
	leaseTimeout = 4 * time.Second
)

// podKind is the kind of the owner of a lease that a pod holds.
const podKind = "Pod"

// ElectOptions configure Elect.
type ElectOptions struct {
	// Client, Namespace and Lease say where the lease is. Required.
	Client           *Client
	Namespace, Lease string
	// Identity is this replica's name, different from that of all others. Required.
	Identity string
	// PodUID is the UID of the pod that this replica is and whose name is Identity; empty outside a cluster. The lease
	// then belongs to that pod: it is collected with it, so that nothing stays behind when the mesh is uninstalled, and
	// other replicas take it over as soon as the pod does not exist.
	PodUID string
	// OnLead does what only the leader does, until its ctx ends. Where it returns earlier, with or without an error,
	// the lease is free for every replica, and this replica stands again. Required.
	OnLead func(ctx context.Context) error
	// Logger gets a line when this replica begins and ceases to lead, and when it cannot stand. Required.
	Logger *slog.Logger
}

// Elect stands for election until ctx ends, and leads whenever it is elected. Of all replicas with the same lease at
// most one leads, provided that the work ends within five seconds of its context and that a pod that was deleted by
// force has ended; where it has not, its next renewal, within two seconds, tells it. When it returns, the work has ended
// and the lease is free. It returns an error only for options that are not complete.
//
// Clocks of replicas may differ: a lease counts as abandoned when it has not changed for its duration by the own
// clock, whatever times are written in it.
func Elect(ctx context.Context, o ElectOptions) error {
	if o.Client == nil || o.OnLead == nil || o.Logger == nil {
		return errors.New("leader election: Client, OnLead and Logger are required")
	}
	if o.Namespace == "" || o.Lease == "" || o.Identity == "" {
		return fmt.Errorf("leader election: namespace %q, lease %q and identity %q must be set", o.Namespace, o.Lease, o.Identity)
	}
	c := &candidate{o: o, target: target{resource: leases(), namespace: o.Namespace, name: o.Lease}}
	for c.stand(ctx) {
		c.lead(ctx)
	}
	return nil
}

// candidate is one replica in the election. Its fields belong to the goroutine of Elect.
type candidate struct {
	o      ElectOptions
	target target

	// lease is what was last seen, seen when its version was seen first by the own clock.
	lease *coordinationv1.Lease
	seen  time.Time
	// claimed is when the newest claim of this replica that the API server accepted was sent: others count from later.
	claimed time.Time
	// renewing says that the lease was seen to change from one look to the next: its holder lives.
	renewing bool
	// leader is the holder that was last logged.
	leader string
}

// stand returns true when this replica holds the lease, false when ctx has ended.
func (c *candidate) stand(ctx context.Context) bool {
	again := retry{say: func(ctx context.Context, err error) {
		c.o.Logger.LogAttrs(ctx, slog.LevelError, "cannot stand for election, trying again", slog.Any("error", err))
	}}
	for ctx.Err() == nil {
		won, err := c.acquire(ctx)
		switch {
		case won:
			return true
		case err == nil:
			again.reset()
		case ctx.Err() == nil:
			again.report(ctx, err)
		}
		// Replicas that started together should not write together for ever.
		if !sleep(ctx, retryPeriod+rand.N(retryPeriod/5)) { //nolint:gosec // no secret depends on it
			return false
		}
	}
	return false
}

// acquire looks at the lease and takes it if no replica holds it. A conflict is another replica's success, no error.
func (c *candidate) acquire(ctx context.Context) (won bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	if err := c.look(ctx); err != nil {
		return false, err
	}
	now := time.Now()
	switch {
	case c.lease == nil:
		won, err = c.make(ctx, now)
	case c.heldByOther() && now.Before(c.seen.Add(c.duration())):
		var gone bool
		if gone, err = c.holderGone(ctx); err != nil || !gone {
			c.announce(ctx)
			return false, err
		}
		c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "the pod of the replica that led is gone", slog.String("leader", holder(c.lease)))
		won, err = c.write(ctx, now)
	default:
		won, err = c.write(ctx, now)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	return won, err
}

// look reads the lease and remembers since when it has been as it is.
func (c *candidate) look(ctx context.Context) error {
	var lease coordinationv1.Lease
	err := c.o.Client.get(ctx, c.target, &lease)
	if apierrors.IsNotFound(err) {
		c.lease = nil
		return nil
	}
	if err != nil {
		return err
	}
	changed := c.lease == nil || c.lease.ResourceVersion != lease.ResourceVersion
	c.renewing = changed && c.lease != nil && holder(c.lease) == holder(&lease)
	if changed {
		c.lease, c.seen = &lease, time.Now()
	}
	return nil
}

// holderGone reports whether the pod that holds the lease does not exist, or has ended for good. It is asked only where
// the holder does not renew the lease, and says no where the holder is no pod.
func (c *candidate) holderGone(ctx context.Context) (bool, error) {
	if c.renewing {
		return false, nil
	}
	for _, owner := range c.lease.OwnerReferences {
		if owner.Kind != podKind || owner.Name != holder(c.lease) {
			continue
		}
		var list corev1.PodList
		err := c.o.Client.list(ctx, target{resource: pods(), namespace: c.o.Namespace, name: owner.Name}, &list)
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool {
			return p.UID == owner.UID && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
		}), nil
	}
	return false, nil
}

// make makes the lease, held by this replica.
func (c *candidate) make(ctx context.Context, now time.Time) (bool, error) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.o.Namespace, Name: c.o.Lease}}
	c.claim(lease, now)
	err := c.o.Client.create(ctx, c.target, lease)
	return c.note(lease, now, err), err
}

// write puts this replica's name and the time into the lease, provided that it is as it was seen.
func (c *candidate) write(ctx context.Context, now time.Time) (bool, error) {
	lease := c.lease.DeepCopy()
	c.claim(lease, now)
	err := c.o.Client.update(ctx, c.target, lease)
	return c.note(lease, now, err), err
}

func (c *candidate) claim(lease *coordinationv1.Lease, now time.Time) {
	stamp := metav1.NewMicroTime(now)
	if holder(lease) != c.o.Identity {
		transitions := *cmp.Or(lease.Spec.LeaseTransitions, new(int32))
		if lease.ResourceVersion != "" { // the first holder takes it from no other
			transitions++
		}
		lease.Spec.LeaseTransitions = &transitions
		lease.Spec.AcquireTime = &stamp
	}
	lease.OwnerReferences = nil
	if c.o.PodUID != "" {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: podKind, Name: c.o.Identity, UID: types.UID(c.o.PodUID)}}
	}
	seconds := int32(leaseDuration / time.Second)
	lease.Spec.HolderIdentity = &c.o.Identity
	lease.Spec.LeaseDurationSeconds = &seconds
	lease.Spec.RenewTime = &stamp
}

// note remembers a claim that was accepted. After an error the lease is looked at anew before the next claim.
func (c *candidate) note(lease *coordinationv1.Lease, sent time.Time, err error) bool {
	if err == nil {
		c.lease, c.seen, c.claimed = lease, time.Now(), sent
	}
	return err == nil
}

func (c *candidate) heldByOther() bool {
	h := holder(c.lease)
	return h != "" && h != c.o.Identity
}

// duration is how long the present holder asks others to wait.
func (c *candidate) duration() time.Duration {
	if s := c.lease.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		return time.Duration(*s) * time.Second
	}
	return leaseDuration
}

func (c *candidate) announce(ctx context.Context) {
	if h := holder(c.lease); h != c.leader {
		c.leader = h
		c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "another replica leads", slog.String("leader", h))
	}
}

func holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// lead does the work and renews the lease as long as the work goes on, even while it is ending.
func (c *candidate) lead(ctx context.Context) {
	c.leader = c.o.Identity
	c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "this replica leads", slog.String("lease", c.o.Namespace+"/"+c.o.Lease))
	led, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.o.OnLead(led) }()

	kept, err := c.keep(context.WithoutCancel(ctx), done)
	if !kept {
		cancel()
		err = errors.Join(err, <-done)
	}
	if kept {
		c.release(context.WithoutCancel(ctx))
	}
	if ctx.Err() != nil {
		c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "this replica leads no more: shutting down")
		return
	}
	c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "this replica leads no more", slog.Any("error", err))
	sleep(ctx, retryPeriod) // lets another one have it
}

// keep renews the lease until the work is done, which gives true and the error of the work, or until it is lost, which
// gives false and the reason. Its ctx does not end.
func (c *candidate) keep(ctx context.Context, done <-chan error) (kept bool, err error) {
	ticker := time.NewTicker(retryPeriod)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return true, err
		case <-ticker.C:
		}
		switch err := c.renew(ctx); {
		case err == nil:
		case errors.Is(err, errTaken):
			return false, err
		case time.Since(c.claimed) > renewDeadline-retryPeriod:
			return false, fmt.Errorf("lease not renewed for %s: %w", time.Since(c.claimed).Round(time.Second), err)
		}
	}
}

var errTaken = errors.New("another replica took the lease")

// renew writes the lease. Where it was written by another meanwhile, it looks by which.
func (c *candidate) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	_, err := c.write(ctx, time.Now())
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	switch {
	case c.lease == nil: // deleted, or collected with the pod of the leader before
		_, err = c.make(ctx, time.Now())
	case holder(c.lease) == c.o.Identity:
		_, err = c.write(ctx, time.Now())
	default:
		return errTaken
	}
	if apierrors.IsAlreadyExists(err) {
		return errTaken
	}
	return err
}

// release frees the lease, so that the next leader need not wait for its end.
func (c *candidate) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	lease := c.lease.DeepCopy()
	none, now, second := "", metav1.NewMicroTime(time.Now()), int32(1)
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &none, &second, &now
	if err := c.o.Client.update(ctx, c.target, lease); err != nil {
		c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "lease not released, the next leader waits for its end", slog.Any("error", err))
		return
	}
	c.lease, c.seen = lease, time.Now()
}
