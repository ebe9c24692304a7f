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
	shelf    shelf               // what the client has asked for and has
	sum      uint64              // of what it has, see version
	fresh    map[string]struct{} // asked for, or asked for again, and not answered since; nil for none, as the next two
	due      map[string]bool     // held, not sent yet; true where the client had no resource of that name
	gone     map[string]struct{} // held or asked for, and not there: to be taken away when the time has come
	over     int                 // names that are not followed, because there are too many
	repeats  repeats
	nonce    uint64            // of the newest response; each has the next one
	acked    uint64            // newest that was confirmed
	versions map[uint64]string // of responses that are neither confirmed nor refused
	last     string            // version of the newest response
	good     string            // version of the newest confirmed response
	refusal  *Refusal          // of the newest response that was judged
}

// Refusal is what a client would not put in force.
type Refusal struct {
	// Version is that of the refused response, Reason the client's words.
	Version, Reason string
	At              time.Time
}

func newBook(t Type, delta bool) *book {
	return &book{typ: t, delta: delta, versions: make(map[uint64]string)}
}

// keeps reports whether the client is to have a resource of this name, if there is one.
func (b *book) keeps(name string) bool { return b.shelf.has(name, asked|covered) }

// follows reports whether a name is watched.
func (b *book) follows(name string) bool {
	if name == All {
		return b.wildcard
	}
	return b.shelf.has(name, asked)
}

// refuse notes a name that is not followed: it does not exist for the client.
func (b *book) refuse(name string) {
	b.over++
	if b.delta {
		b.gone = note(b.gone, name)
	}
}

// note adds a name to a set, which may be nil.
func note(set map[string]struct{}, name string) map[string]struct{} {
	if set == nil {
		set = make(map[string]struct{})
	}
	set[name] = struct{}{}
	return set
}

// strike takes a name out of a set; the last one leaves nothing behind.
func strike(set map[string]struct{}, name string) map[string]struct{} {
	delete(set, name)
	if len(set) == 0 {
		return nil
	}
	return set
}

// names gives everything that is watched.
func (b *book) names() []string {
	names := b.shelf.with(asked, 0)
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
		if !b.shelf.has(n, asked) {
			d.more = append(d.more, n)
		}
	}
	for _, n := range b.shelf.with(asked, 0) {
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
		if b.follows(n) {
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
		if _, named := slices.BinarySearch(asked, name); (named || all) && len(name) <= maxName && b.shelf.held < maxNames {
			b.put(&Resource{Name: name, Version: version})
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
	if b.shelf.has(name, asked) || !b.shelf.has(name, held) || !b.delta {
		b.fresh = note(b.fresh, name)
	}
	b.shelf.set(name, asked)
}

// unfollow notes that a name is not watched any more. The client forgets what it had by it, unless the wildcard stands for
// it too.
func (b *book) unfollow(name string) {
	if name == All {
		b.wildcard = false
		was := b.shelf.with(covered, 0)
		b.shelf.uncover()
		for _, n := range was {
			b.forget(n)
		}
		return
	}
	b.shelf.unset(name, asked)
	b.fresh = strike(b.fresh, name)
	b.forget(name)
}

func (b *book) forget(name string) {
	if b.keeps(name) {
		return
	}
	if r := b.shelf.get(name); r != nil {
		b.repeats.dropped += len(r.Body)
	}
	b.drop(name)
}

// put notes what the client has, and reports whether it is another resource than before, and whether it is the first. The newest one is
// kept even where it is the same: others have it, too, and nobody has the older one.
func (b *book) put(r *Resource) (news, first bool) {
	before := b.shelf.get(r.Name)
	if before != nil {
		b.sum -= weigh(before)
	}
	b.shelf.hold(r)
	b.sum += weigh(r)
	return before == nil || before.Version != r.Version, before == nil
}

// drop forgets a resource.
func (b *book) drop(name string) {
	if r := b.shelf.get(name); r != nil {
		b.sum -= weigh(r)
		b.shelf.unset(name, held)
	}
	delete(b.due, name)
	b.gone = strike(b.gone, name)
}

func weigh(r *Resource) uint64 {
	h := fnv.New64a()
	for _, s := range [...]string{r.Name, "\x00", r.Version} {
		h.Write([]byte(s))
	}
	return h.Sum64()
}

// learn takes the newest answer for a watched name, which may be in parts: what the client does not have is due, what is not there any
// more gone.
func (b *book) learn(name string, found ...[]Resource) {
	n := 0
	for _, list := range found {
		for i := range list {
			b.find(&list[i])
		}
		n += len(list)
	}
	if name == All {
		b.cover(found)
		return
	}
	if n > 0 {
		return
	}
	_, fresh := b.fresh[name]
	b.fresh = strike(b.fresh, name)
	switch {
	case b.shelf.has(name, covered):
	case b.shelf.has(name, held) || (fresh && b.delta):
		b.lose(name)
	case fresh: // it hears that there is none by what the next response does not hold
		b.greet = b.typ.whole()
		b.repeats.answers = true
	}
}

// find takes a resource that is there.
func (b *book) find(r *Resource) {
	_, fresh := b.fresh[r.Name]
	b.fresh = strike(b.fresh, r.Name)
	b.gone = strike(b.gone, r.Name)
	news, first := b.put(r)
	if !news && !fresh {
		return
	}
	if b.due == nil {
		b.due = make(map[string]bool)
	}
	b.due[r.Name] = b.due[r.Name] || first
	b.repeats.answers = b.repeats.answers || fresh
	b.repeats.count(len(r.Body), news, first)
}

// cover notes what the wildcard stands for, all of which the client has.
func (b *book) cover(found [][]Resource) {
	b.shelf.uncover()
	for _, list := range found {
		for i := range list {
			b.shelf.set(list[i].Name, covered)
		}
	}
	for _, n := range b.shelf.with(held, asked|covered) {
		b.lose(n)
	}
}

// lose notes that a resource is not there any more.
func (b *book) lose(name string) {
	b.gone = note(b.gone, name)
	delete(b.due, name)
}

// again has a resource sent once more although the client has it, and says how many bytes that are.
func (b *book) again(name string) int {
	r := b.shelf.get(name)
	if r == nil || r.Body == nil {
		return 0
	}
	if b.due == nil {
		b.due = make(map[string]bool)
	}
	b.due[name] = false
	return len(r.Body)
}

// takeDue gives what is to be sent, in the order of names, and which of it the client has not had before.
func (b *book) takeDue() (list []Resource, first map[string]bool) {
	first, b.due = b.due, nil
	for _, n := range slices.Sorted(maps.Keys(first)) {
		if r := b.shelf.get(n); r != nil {
			list = append(list, *r)
		}
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
	list := make([]Resource, 0, b.shelf.held)
	for _, at := range b.shelf.slots {
		if at.marks&held != 0 {
			list = append(list, *at.of)
		}
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
	b.greet, b.repeats.answers = false, false
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
