package telemetry

import (
	"sync"
	"sync/atomic"
)

// cells are the responses of one scope, told apart by code, flags and gRPC status: a handful, so a linear search beats
// a map. Adding one takes a lock, finding one does not.
type cells struct {
	all      atomic.Pointer[[]*cell]
	registry *Registry
	tagged   atomic.Int64 // of them, those with values that calls say

	mu sync.Mutex // serialises adding
}

// cell is one kind of response.
type cell struct {
	kind
	tags string // labels that calls say, rendered, each with a comma behind it

	requests                      atomic.Uint64
	reqMessages, respMessages     atomic.Uint64
	duration, reqBytes, respBytes histogram
	native                        *nativeCell // nil unless rules ask for it
}

// kind is what responses are told apart by.
type kind struct {
	code        int // unknownCode where kinds were folded
	flags, grpc string
}

const (
	// maxCells bounds the kinds of responses of one scope: apps, and servers outside the mesh, choose their status codes.
	maxCells = 32
	// unknownCode stands for every kind beyond that.
	unknownCode = 0
)

// of gives the cell for a call by what a group prints of it.
func (cs *cells) of(g *tagGroup, r *Record) *cell {
	k := kind{code: r.Code, flags: r.Flags, grpc: r.GRPCStatus}
	var room [2 * maxTagValue]byte
	tags := room[:0]
	if g != nil {
		k = g.narrow(k)
		tags = g.append(tags, r)
	}
	if c := cs.find(k, tags); c != nil {
		return c
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.find(k, tags); c != nil {
		return c
	}
	if len(tags) > 0 && (cs.tagged.Load() >= maxTagged || cs.registry.tagged.Load() >= maxTaggedInAll) {
		cs.registry.folded.Add(1)
		tags = g.others(tags[:0])
	} else if len(tags) > 0 {
		cs.tagged.Add(1)
		cs.registry.tagged.Add(1)
		return cs.add(g.cell(k, tags))
	}
	return cs.bounded(g.cell(k, tags))
}

// cell makes a cell that counts what a group prints.
func (g *tagGroup) cell(k kind, tags []byte) *cell {
	c := &cell{kind: k, tags: string(tags)}
	if g != nil && g.rules.from.native {
		c.native = newNativeCell()
	}
	return c
}

// bounded gives the cell of a kind, or where there are too many the one for all others. mu is held.
func (cs *cells) bounded(c *cell) *cell {
	if known := cs.find(c.kind, []byte(c.tags)); known != nil {
		return known
	}
	if len(cs.list())-int(cs.tagged.Load()) >= maxCells {
		cs.registry.folded.Add(1)
		c.kind = kind{code: unknownCode}
		if rest := cs.find(c.kind, []byte(c.tags)); rest != nil {
			return rest
		}
	}
	return cs.add(c)
}

func (cs *cells) add(c *cell) *cell {
	old := cs.list()
	grown := append(append(make([]*cell, 0, len(old)+1), old...), c)
	cs.all.Store(&grown)
	return c
}

func (cs *cells) find(k kind, tags []byte) *cell {
	for _, c := range cs.list() {
		if c.kind == k && c.tags == string(tags) {
			return c
		}
	}
	return nil
}

func (cs *cells) list() []*cell {
	if all := cs.all.Load(); all != nil {
		return *all
	}
	return nil
}

// narrow leaves of a kind what is printed.
func (g *tagGroup) narrow(k kind) kind {
	if !g.keeps("response_code") {
		k.code = unknownCode
	}
	if !g.keeps("response_flags") {
		k.flags = ""
	}
	if !g.keeps("grpc_response_status") {
		k.grpc = ""
	}
	return k
}
