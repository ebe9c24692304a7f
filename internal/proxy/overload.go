package proxy

import (
	"cmp"
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"
)

// overload says when the process holds so much that less is to begin, so that what is under way can end: before the kernel
// runs out of descriptors, or out of patience with its memory. Who is to begin less, shares say.
type overload struct {
	limits *meshLimits
	// memory is what Go keeps the process below, in bytes (GOMEMLIMIT); 0 for no limit.
	memory int64
	// connections are as many as fit into the descriptors and the memory of the process.
	connections int64
	// held gives the memory in use, garbage not counted.
	held func() int64
	// sockets gives what the kernel holds in socket buffers that count for the memory limit; nil for nothing.
	sockets func() int64

	tight  atomic.Bool
	shares shares
}

const (
	// shedAbove and shedBelow are shares of the memory limit, in percent. Near the limit Go would collect all the time.
	shedAbove, shedBelow = 90, 80
	// lookAtMemory is how often; it costs some microseconds.
	lookAtMemory = 250 * time.Millisecond
	// manyRequests must be under way for the kernel to be asked, which costs more than asking Go.
	manyRequests = 64
	// connectionMemory is what a connection holds at the least, with the one that it leads to.
	connectionMemory = 16 << 10
	// listenerShare of all connections may come by one door, in percent: the clients that fill it leave the others open.
	listenerShare = 75
)

func newOverload(l *meshLimits) *overload {
	o := &overload{limits: l, connections: math.MaxInt64, held: heldMemory, sockets: func() int64 { return socketMemory(os.DirFS("/")) }}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		o.memory = limit
		o.connections = limit / connectionMemory
		l.fitting = int(mostRequests(limit))
	}
	o.shares.most, o.shares.tight = mostRequests(o.memory), &o.tight
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil && files.Cur < math.MaxInt64 {
		o.connections = min(o.connections, int64(files.Cur)*2/5) // each leads to another one
	}
	return o
}

// run looks at the memory until ctx ends.
func (o *overload) run(ctx context.Context) {
	if o.memory == 0 {
		return
	}
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			o.look()
		}
	}
}

// look decides whether to shed. What is in use is known as of the last collection, so one is made while that matters.
func (o *overload) look() {
	if o.tight.Load() {
		runtime.GC()
	}
	held := o.held()
	if o.sockets != nil && o.shares.running.Load() >= manyRequests {
		held += o.sockets()
	}
	switch {
	case held >= o.memory/100*shedAbove:
		o.tight.Store(true)
	case held < o.memory/100*shedBelow:
		o.tight.Store(false)
	}
}

// heldMemory is what the last collection left, with stacks and what Go keeps for itself.
func heldMemory() int64 {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
		{Name: "/memory/classes/os-stacks:bytes"},
		{Name: "/memory/classes/other:bytes"},
	}
	metrics.Read(s)
	var sum int64
	for i := range s {
		if s[i].Value.Kind() == metrics.KindUint64 {
			sum += int64(s[i].Value.Uint64())
		}
	}
	return sum
}

// connection reports whether there is room for one more connection beside all that are open, and those of one listener.
func (o *overload) connection(all, listener int64) bool {
	most := cmp.Or(int64(o.limits.now().Connections), o.connections)
	return all < most && listener < most/100*listenerShare+most%100*listenerShare/100
}
