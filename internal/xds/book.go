package xds

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxName bounds the names that a client asks for, in bytes. A host name has at most 253, and what Istio puts before it
// and behind it is short. A longer name leads nowhere.
const maxName = 1024

// book is what one client asked for and has of one type. It belongs to the stream's goroutine, and does no I/O.
type book struct {
	typ      Type
	delta    bool
	opened   bool // the client has asked for the type
	explicit bool // the client has named resources, so that a list without names is no wildcard any more
	wildcard bool
	greet    bool                // an answer is due even where it is empty
	asked    map[string]struct{} // names
	covered  map[string]struct{} // names that the wildcard stands for
	fresh    map[string]struct{} // asked for, or asked for again, and not answered since
	held     map[string]Resource // what the client has, or was sent
	sum      uint64              // of held, see version
	due      map[string]bool     // of held, not sent yet; true where the client had no resource of that name
	gone     map[string]struct{} // held or asked for, and not there: to be taken away when the time has come
	over     int                 // names that are not followed, because there are too many
	nonce    uint64              // of the newest response; each has the next one
	acked    uint64              // newest that was confirmed
	versions map[uint64]string   // of responses that are neither confirmed nor refused
	last     string              // version of the newest response
	good     string              // version of the newest confirmed response
	refusal  *Refusal            // of the newest response that was judged
}

// Refusal is what a client would not put in force.
type Refusal struct {
	// Version is that of the refused response, Reason the client's words.
	Version, Reason string
	At              time.Time
}

func newBook(t Type, delta bool) *book {
	return &book{
		typ: t, delta: delta,
		asked: make(map[string]struct{}), covered: make(map[string]struct{}), fresh: make(map[string]struct{}),
		held: make(map[string]Resource), due: make(map[string]bool), gone: make(map[string]struct{}), versions: make(map[uint64]string),
	}
}

// keeps reports whether the client is to have a resource of this name, if there is one.
func (b *book) keeps(name string) bool {
	_, asked := b.asked[name]
	_, covered := b.covered[name]
	return asked || covered
}

// follows reports whether a name is watched.
func (b *book) follows(name string) bool {
	if name == All {
		return b.wildcard
	}
	_, ok := b.asked[name]
	return ok
}

// refuse notes a name that is not followed: it does not exist for the client.
func (b *book) refuse(name string) {
	b.over++
	if b.delta {
		b.gone[name] = struct{}{}
	}
}

// names gives everything that is watched.
func (b *book) names() []string {
	names := slices.Collect(maps.Keys(b.asked))
	if b.wildcard {
		names = append(names, All)
	}
	return names
}

// asks is what changes in the names that a client follows.
type asks struct{ more, less []string }

// replace takes the list of a request of the state of the world: it names everything that the client wants. The first one
// without names means everything that there is, where the type has such a list; so does "*" in any.
func (b *book) replace(names []string) asks {
	listed := make(map[string]struct{}, len(names))
	for _, n := range names {
		listed[n] = struct{}{}
	}
	_, all := listed[All]
	delete(listed, All)
	all = all || (len(names) == 0 && !b.explicit && b.typ.whole())
	b.explicit = b.explicit || len(names) > 0
	var d asks
	for n := range listed {
		if _, ok := b.asked[n]; !ok {
			d.more = append(d.more, n)
		}
	}
	for n := range b.asked {
		if _, ok := listed[n]; !ok {
			d.less = append(d.less, n)
		}
	}
	switch {
	case all && !b.wildcard:
		d.more = append(d.more, All)
	case !all && b.wildcard:
		d.less = append(d.less, All)
	}
	if !b.opened && b.typ.whole() {
		b.greet = true
	}
	b.opened = true
	slices.Sort(d.more)
	return d
}

// amend takes the lists of a delta request. A name that is asked for again is answered again. The first request without
// names means everything that there is, where the type has such a list.
func (b *book) amend(subscribe, unsubscribe []string, has map[string]string) asks {
	first := !b.opened
	b.opened = true
	var d asks
	for _, n := range unsubscribe {
		if _, ok := b.asked[n]; ok || (n == All && b.wildcard) {
			d.less = append(d.less, n)
		}
	}
	d.more = slices.Clone(subscribe)
	if first && len(subscribe) == 0 && b.typ.whole() {
		d.more = append(d.more, All)
	}
	slices.Sort(d.more)
	d.more = slices.Compact(d.more)
	if first {
		b.bring(has, d.more)
	}
	return d
}

// bring notes what the client has from its previous stream, of what it asks for. A client that has nothing waits for an
// answer, be it that there is nothing.
func (b *book) bring(has map[string]string, asked []string) {
	_, all := slices.BinarySearch(asked, All)
	b.greet = all && len(has) == 0
	for name, version := range has {
		if _, named := slices.BinarySearch(asked, name); (named || all) && len(name) <= maxName && len(b.held) < maxNames {
			b.put(Resource{Name: name, Version: version})
		}
	}
}

// follow notes a name that is watched now. A name that a client brings along from its previous stream is no question: it
// is answered where the answer is another one.
func (b *book) follow(name string) {
	if name == All {
		b.wildcard = true
		return
	}
	_, again := b.asked[name]
	b.asked[name] = struct{}{}
	if _, has := b.held[name]; again || !has || !b.delta {
		b.fresh[name] = struct{}{}
	}
}

// unfollow notes that a name is not watched any more. The client forgets what it had by it, unless the wildcard stands for
// it too.
func (b *book) unfollow(name string) {
	if name == All {
		b.wildcard = false
		for n := range b.covered {
			delete(b.covered, n)
			b.forget(n)
		}
		return
	}
	delete(b.asked, name)
	delete(b.fresh, name)
	b.forget(name)
}

func (b *book) forget(name string) {
	if !b.keeps(name) {
		b.drop(name)
	}
}

// put notes what the client has, and reports whether it is another resource than before, and whether it is the first.
func (b *book) put(r Resource) (news, first bool) {
	before, had := b.held[r.Name]
	if had {
		if before.Version == r.Version && before.Body != nil {
			return false, false
		}
		b.sum -= weigh(before)
	}
	b.held[r.Name] = r
	b.sum += weigh(r)
	return !had || before.Version != r.Version, !had
}

// drop forgets a resource.
func (b *book) drop(name string) {
	if r, ok := b.held[name]; ok {
		b.sum -= weigh(r)
		delete(b.held, name)
	}
	delete(b.due, name)
	delete(b.gone, name)
}

func weigh(r Resource) uint64 {
	h := fnv.New64a()
	for _, s := range [...]string{r.Name, "\x00", r.Version} {
		h.Write([]byte(s))
	}
	return h.Sum64()
}

// learn takes the newest answer for a watched name: what the client does not have is due, what is not there any more gone.
func (b *book) learn(name string, found []Resource) {
	if name == All {
		b.cover(found)
	}
	for i := range found {
		r := found[i]
		_, fresh := b.fresh[r.Name]
		delete(b.fresh, r.Name)
		delete(b.gone, r.Name)
		if news, first := b.put(r); news || fresh {
			b.due[r.Name] = b.due[r.Name] || first
		}
	}
	if name == All || len(found) > 0 {
		return
	}
	_, has := b.held[name]
	_, fresh := b.fresh[name]
	_, covered := b.covered[name]
	delete(b.fresh, name)
	switch {
	case covered:
	case has || (fresh && b.delta):
		b.lose(name)
	case fresh: // it hears that there is none by what the next response does not hold
		b.greet = b.typ.whole()
	}
}

// cover notes what the wildcard stands for.
func (b *book) cover(found []Resource) {
	clear(b.covered)
	for i := range found {
		b.covered[found[i].Name] = struct{}{}
	}
	for n := range b.held {
		if !b.keeps(n) {
			b.lose(n)
		}
	}
}

// lose notes that a resource is not there any more.
func (b *book) lose(name string) {
	b.gone[name] = struct{}{}
	delete(b.due, name)
}

// again has a resource sent once more although the client has it.
func (b *book) again(name string) {
	if r, has := b.held[name]; has && r.Body != nil {
		b.due[name] = false
	}
}

// takeDue gives what is to be sent, in the order of names, and which of it the client has not had before.
func (b *book) takeDue() (list []Resource, first map[string]bool) {
	first, b.due = b.due, make(map[string]bool)
	for _, n := range slices.Sorted(maps.Keys(first)) {
		list = append(list, b.held[n])
	}
	return list, first
}

// takeGone gives the names of what is to be taken away, and forgets it.
func (b *book) takeGone() []string {
	names := slices.Sorted(maps.Keys(b.gone))
	for _, n := range names {
		b.drop(n)
	}
	return names
}

// all gives everything that the client has, in the order of names.
func (b *book) all() []Resource {
	list := make([]Resource, 0, len(b.held))
	for _, n := range slices.Sorted(maps.Keys(b.held)) {
		list = append(list, b.held[n])
	}
	return list
}

// version is a hash of what the client has: equal contents have equal versions on every replica.
func (b *book) version() string { return fmt.Sprintf("%016x", b.sum) }

// maxJudged is how many responses without a word from the client are remembered; of older ones it is not known any more
// which version they were.
const maxJudged = 64

// sent gives the nonce and the version of a response that is about to be sent.
func (b *book) sent() (nonce, version string) {
	version = b.version()
	b.nonce++
	b.versions[b.nonce] = version
	b.last = version
	delete(b.versions, b.nonce-maxJudged)
	b.greet = false
	return strconv.FormatUint(b.nonce, 10), version
}

// ours reports which response a nonce belongs to; false where it is of none that was sent on this stream.
func (b *book) ours(nonce string) (uint64, bool) {
	n, err := strconv.ParseUint(nonce, 10, 64)
	return n, err == nil && n > 0 && n <= b.nonce && strconv.FormatUint(n, 10) == nonce
}

// judge takes a client's word on a response; a nil reason means that it is in force. The first word on a response counts:
// false where there was one already.
func (b *book) judge(nonce uint64, reason *string, now time.Time) (first bool) {
	version, open := b.versions[nonce]
	if !open {
		return false
	}
	for n := range b.versions {
		if n <= nonce {
			delete(b.versions, n)
		}
	}
	b.acked = nonce
	if reason != nil {
		b.refusal = &Refusal{Version: version, Reason: *reason, At: now}
		return true
	}
	b.refusal, b.good = nil, version
	return true
}

// synced reports whether everything that was sent is in force.
func (b *book) synced() bool {
	return b.acked == b.nonce && b.refusal == nil && len(b.due)+len(b.gone) == 0
}

// hasEndpoints reports whether a client that gets this cluster asks for its endpoints: Cluster.type is EDS. The field is
// found without decoding the message; what cannot be read has none.
func hasEndpoints(body []byte) bool {
	const fieldType, eds = 2, 3 // envoy/config/cluster/v3/cluster.proto: type, DiscoveryType.EDS
	found := false
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return false
		}
		body = body[n:]
		if number == fieldType && kind == protowire.VarintType {
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return false
			}
			found = v == eds
		}
		if n = protowire.ConsumeFieldValue(number, kind, body); n < 0 {
			return false
		}
		body = body[n:]
	}
	return found
}
