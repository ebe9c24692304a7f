package telemetry

import (
	"sync"
	"sync/atomic"
)

// cells are the responses of one scope, told apart by code, flags and gRPC status: a handful, so a linear search beats
// a map. Adding one takes a lock, finding one does not.
type cells struct {
	all    atomic.Pointer[[]*cell]
	folded *atomic.Uint64 // counts what had no cell of its own

	mu sync.Mutex // serialises adding
}

// cell is one kind of response.
type cell struct {
	code        int // unknownCode where kinds were folded
	flags, grpc string

	requests                      atomic.Uint64
	duration, reqBytes, respBytes histogram
}

const (
	// maxCells bounds the kinds of responses of one scope: apps, and servers outside the mesh, choose their status codes.
	maxCells = 32
	// unknownCode stands for every kind beyond that.
	unknownCode = 0
)

func (cs *cells) of(o Observation) *cell {
	if c := cs.find(o.Code, o.Flags, o.GRPCStatus); c != nil {
		return c
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.find(o.Code, o.Flags, o.GRPCStatus); c != nil {
		return c
	}
	c := &cell{code: o.Code, flags: o.Flags, grpc: o.GRPCStatus}
	old := cs.list()
	if len(old) >= maxCells {
		cs.folded.Add(1)
		if rest := cs.find(unknownCode, "", ""); rest != nil {
			return rest
		}
		c = &cell{code: unknownCode}
	}
	grown := append(append(make([]*cell, 0, len(old)+1), old...), c)
	cs.all.Store(&grown)
	return c
}

func (cs *cells) find(code int, flags, grpc string) *cell {
	for _, c := range cs.list() {
		if c.code == code && c.flags == flags && c.grpc == grpc {
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
