package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/plan"
)

// ShardPatch is message ShardPatch: what makes a shard of an earlier version of it, the base. A pod that comes or goes changes
// one endpoint of many, and every sidecar that calls the Service is told.
type ShardPatch struct {
	// Gone are the places in the base, ascending, of the endpoints that are not in the shard, or are other ones there.
	Gone []int
	// Endpoints are those that the base does not have, At their places in the shard, ascending.
	Endpoints []plan.Endpoint
	At        []int
}

// shardPatchFields needs the base's table in the coder. Strings that it does not have follow in the patch, and numbers go on
// where the base's end.
func shardPatchFields(c *coder, p *ShardPatch) {
	c.strict()
	c.ints(1, "gone", &p.Gone)
	switch {
	case c.describe != nil:
		c.texts(2, "strings", new([]string))
		list(c, 3, "endpoints", &p.Endpoints, endpointFields)
	case c.decoding:
		var fresh []string
		c.texts(2, "strings", &fresh)
		c.table.strings = append(c.table.strings, fresh...)
		if c.err == nil && !c.table.distinct() {
			c.fail(2, errTableOrder)
		}
		list(c, 3, "endpoints", &p.Endpoints, endpointFields)
		if c.err == nil && c.table.used != uint64(len(c.table.strings)) && !c.skipped {
			c.fail(2, errTableOrder)
		}
	default:
		known := len(c.table.strings)
		endpoints := coder{table: c.table}
		list(&endpoints, 3, "endpoints", &p.Endpoints, endpointFields)
		if endpoints.err != nil && c.err == nil {
			c.err, c.path = endpoints.err, endpoints.path
			return
		}
		fresh := c.table.strings[known:]
		c.texts(2, "strings", &fresh)
		c.buf = append(c.buf, endpoints.buf...)
	}
	c.ints(4, "at", &p.At)
}

// Patch gives what makes after of before, which are versions of one resource: a message ShardPatch. nil where there is none,
// as for everything that is no shard, and where it would not be much shorter. It is tried before it is given.
func Patch(before, after *plan.Encoded) []byte {
	if !isShard(after.Name) || before.Name != after.Name || len(after.Body) == 0 || len(before.Body) == 0 {
		return nil
	}
	base, err := decodeShard(before.Body)
	if err != nil {
		return nil
	}
	next, err := decodeShard(after.Body)
	if err != nil {
		return nil
	}
	patch, err := patchOf(base.Endpoints, next.Endpoints).encode(base.Endpoints)
	if err != nil || len(patch) > len(after.Body)/2 {
		return nil
	}
	again, _, err := applyPatch(base, patch)
	if err != nil {
		return nil
	}
	if body, err := Encode(again); err != nil || !bytes.Equal(body, after.Body) {
		return nil // such as where an endpoint occurs twice
	}
	return patch
}

func decodeShard(body []byte) (*plan.EndpointShard, error) {
	resource, left, err := decode(body)
	if err != nil {
		return nil, err
	}
	shard, ok := resource.(*plan.EndpointShard)
	if !ok || left.count > 0 {
		return nil, fmt.Errorf("%s is no shard that is known in full", resource.ResourceName())
	}
	return shard, nil
}

// patchOf compares endpoints by their bytes. It keeps what is in both in the same order.
func patchOf(base, next []plan.Endpoint) *ShardPatch {
	table := newTable()
	place := make(map[string]int, len(base))
	for i, e := range chunks(table, base) {
		place[e] = i
	}
	p := &ShardPatch{}
	kept := 0 // of base, what has been looked at
	for j, e := range chunks(table, next) {
		i, ok := place[e]
		if !ok || i < kept {
			p.Endpoints, p.At = append(p.Endpoints, next[j]), append(p.At, j)
			continue
		}
		for ; kept < i; kept++ {
			p.Gone = append(p.Gone, kept)
		}
		kept++
	}
	for ; kept < len(base); kept++ {
		p.Gone = append(p.Gone, kept)
	}
	return p
}

// chunks gives the bytes of each endpoint with the numbers of one table.
func chunks(table *stringTable, endpoints []plan.Endpoint) []string {
	list := make([]string, len(endpoints))
	for i := range endpoints {
		c := coder{table: table}
		endpointFields(&c, &endpoints[i])
		list[i] = string(c.buf)
	}
	return list
}

func newTable() *stringTable { return &stringTable{index: make(map[string]uint64)} }

// tableOf gives the table that a shard of these endpoints has.
func tableOf(endpoints []plan.Endpoint) *stringTable {
	table := newTable()
	c := coder{table: table}
	for i := range endpoints {
		c.buf = c.buf[:0]
		endpointFields(&c, &endpoints[i])
	}
	return table
}

func (p *ShardPatch) encode(base []plan.Endpoint) ([]byte, error) {
	c := coder{table: tableOf(base)}
	shardPatchFields(&c, p)
	return c.buf, c.result()
}

var (
	errPlaces   = errors.New("places are not ascending, or beyond the end")
	errOmission = errors.New("it has an endpoint that this sidecar is too old to call")
)

// patched makes a shard of the version that is in force. Where that is another one than the control plane believes, or lacks
// what is not known here, the error has the shard sent whole. mu is held.
func (l *ledger) patched(a *Answer) (*plan.EndpointShard, leftOut, error) {
	h := l.resources[a.Name]
	base, ok := h.resource.(*plan.EndpointShard)
	if !ok || h.version != a.Base || h.left != "" {
		return nil, leftOut{}, fmt.Errorf("a change of version %s, which is not in force here: to be sent whole", a.Base)
	}
	return applyPatch(base, a.Patch)
}

// applyPatch makes a shard of its base, which it leaves as it is, and a message ShardPatch.
func applyPatch(base *plan.EndpointShard, patch []byte) (*plan.EndpointShard, leftOut, error) {
	c := &coder{walker: walker{decoding: true, buf: patch}, table: tableOf(base.Endpoints)}
	c.at = append(c.room[:0], "shard")
	c.table.used = uint64(len(c.table.strings))
	var p ShardPatch
	shardPatchFields(c, &p)
	c.finish()
	err := c.result()
	if err == nil && c.unsafe {
		err = errOmission
	}
	if err != nil {
		return nil, leftOut{}, fmt.Errorf("decoding a change of %s: %w", base.Name, err)
	}
	endpoints, err := p.apply(base.Endpoints)
	if err != nil {
		return nil, leftOut{}, fmt.Errorf("decoding a change of %s: %w", base.Name, err)
	}
	if c.table.omit {
		endpoints = slices.DeleteFunc(endpoints, func(e plan.Endpoint) bool { return e.Health == omitted })
	}
	return &plan.EndpointShard{Name: base.Name, Endpoints: endpoints}, c.left, nil
}

// apply gives the endpoints of the shard.
func (p *ShardPatch) apply(base []plan.Endpoint) ([]plan.Endpoint, error) {
	size := len(base) - len(p.Gone) + len(p.Endpoints)
	if !ascending(p.Gone, len(base)) || !ascending(p.At, size) || len(p.At) != len(p.Endpoints) || size > maxItems {
		return nil, errPlaces
	}
	if size == 0 {
		return nil, nil
	}
	list := make([]plan.Endpoint, 0, size)
	gone, fresh := p.Gone, p.Endpoints
	for i := 0; len(list) < size; {
		switch {
		case len(fresh) > 0 && p.At[len(p.At)-len(fresh)] == len(list):
			list, fresh = append(list, fresh[0]), fresh[1:]
		case len(gone) > 0 && gone[0] == i:
			gone = gone[1:]
			i++
		default:
			list = append(list, base[i])
			i++
		}
	}
	return list, nil
}

func ascending(places []int, below int) bool {
	for i, p := range places {
		if p < 0 || p >= below || (i > 0 && p <= places[i-1]) {
			return false
		}
	}
	return true
}
