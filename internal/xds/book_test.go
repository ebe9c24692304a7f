package xds

import (
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
)

// pair is a book and the client that it is about.
type pair struct {
	book *book
	// What the client wants and has, as its protocol has it understand responses.
	names    map[string]bool
	wildcard bool
	has      map[string]string
	world    map[string]string // what there is
	// Of one stream: how many resources of one byte were sent, how many of those once more, and which there were to send.
	sent, repeated int
	offered        map[string]bool
}

// sync does for the pair what a stream does at its turn: what is dirty is looked at, and sent.
func (p *pair) sync(dirty map[string]bool) {
	for _, n := range slices.Sorted(maps.Keys(dirty)) {
		if !p.book.follows(n) {
			continue
		}
		var found []Resource
		for _, name := range slices.Sorted(maps.Keys(p.world)) {
			if n == All || n == name {
				p.offered[name+"="+p.world[name]] = true
				found = append(found, Resource{Name: name, Version: p.world[name], Body: []byte{1}})
			}
		}
		p.book.learn(n, found)
	}
	if list, _ := p.book.takeDue(); len(list) > 0 || p.book.greet {
		p.receive(list, nil)
	}
	if len(p.book.gone) > 0 {
		p.receive(nil, p.book.takeGone())
	}
}

// receive is the client.
func (p *pair) receive(list []Resource, removed []string) {
	if !p.book.delta && p.book.typ.whole() {
		all := p.book.all()
		p.book.repeats.whole(all, list)
		list = all
		clear(p.has)
	}
	p.sent += len(list)
	for i := range list {
		if p.wildcard || p.names[list[i].Name] {
			p.has[list[i].Name] = list[i].Version
		}
	}
	if p.book.delta {
		for _, n := range removed {
			delete(p.has, n)
		}
	}
	p.book.sent()
	p.book.judge(p.book.nonce, nil, time.Time{})
}

// check compares what the client has with what there is of what it wants. Of routes and endpoints the state of the world
// cannot say that they are gone.
func (p *pair) check(t *testing.T) {
	t.Helper()
	for n, version := range p.world {
		if (p.wildcard || p.names[n]) && p.has[n] != version {
			t.Fatalf("the client has %s=%q, there is %q", n, p.has[n], version)
		}
	}
	for n := range p.has {
		_, there := p.world[n]
		if !there && (p.book.delta || p.book.typ.whole()) {
			t.Fatalf("the client has %s, which is not there any more", n)
		}
		if !p.wildcard && !p.names[n] {
			t.Fatalf("the client has %s, which it does not want", n)
		}
	}
	p.repeated += p.book.repeats.take()
	if other := p.sent - p.repeated; p.book.delta && other > len(p.offered) {
		t.Fatalf("%d resources were sent that do not count as sent once more, of %d that there were", other, len(p.offered))
	}
	if !p.book.synced() {
		t.Fatal("something waits to be sent")
	}
}

// FuzzBook has clients of both protocols ask and forget, come back and see the world change, in any order: in the end they
// have what there is.
func FuzzBook(f *testing.F) {
	f.Add(true, true, []byte{0x00, 0x10, 0x21, 0x32, 0x03, 0x14, 0x25, 0x36, 0x41, 0x00})
	f.Add(false, true, []byte{0x11, 0x00, 0x22, 0x33, 0x11, 0x31, 0x02})
	f.Add(true, false, []byte{0x10, 0x00, 0x40, 0x01, 0x30, 0x20})
	f.Add(false, false, []byte{0x00, 0x01, 0x10, 0x11, 0x20})
	f.Fuzz(func(t *testing.T, delta, whole bool, ops []byte) {
		typ := Endpoints
		if whole {
			typ = Cluster
		}
		p := &pair{book: newBook(typ, delta), names: map[string]bool{}, has: map[string]string{}, world: map[string]string{}, offered: map[string]bool{}}
		for i, op := range ops {
			name := string(rune('a' + op&7))
			dirty := map[string]bool{name: true, All: true}
			switch op >> 4 {
			case 0:
				p.world[name] = strconv.Itoa(i)
			case 1:
				delete(p.world, name)
			case 2:
				p.ask(name, dirty)
			case 3:
				p.forget(name, dirty)
			case 4:
				p.reconnect(dirty)
			default:
				p.ask(All, dirty)
			}
			p.sync(dirty)
			p.check(t)
		}
	})
}

func (p *pair) ask(name string, dirty map[string]bool) {
	if name == All {
		p.wildcard = true
	} else {
		p.names[name] = true
	}
	p.request([]string{name}, nil, nil, dirty)
}

func (p *pair) forget(name string, dirty map[string]bool) {
	if !p.names[name] {
		return
	}
	delete(p.names, name)
	if !p.wildcard {
		delete(p.has, name)
	}
	p.request(nil, []string{name}, nil, dirty)
}

// reconnect opens another stream with what the client has.
func (p *pair) reconnect(dirty map[string]bool) {
	has := maps.Clone(p.has)
	p.book = newBook(p.book.typ, p.book.delta)
	p.sent, p.repeated, p.offered = 0, 0, map[string]bool{}
	names := slices.Sorted(maps.Keys(p.names))
	if p.wildcard {
		names = append(names, All)
	}
	if len(names) > 0 {
		p.request(names, nil, has, dirty)
	}
}

func (p *pair) request(more, less []string, has map[string]string, dirty map[string]bool) {
	var d asks
	if p.book.delta {
		if !p.book.opened && len(more) == 0 {
			return
		}
		d = p.book.amend(more, less, has)
	} else {
		names := slices.Sorted(maps.Keys(p.names))
		if p.wildcard {
			names = append(names, All)
		}
		d = p.book.replace(names)
	}
	for _, n := range d.less {
		p.book.unfollow(n)
	}
	for _, n := range d.more {
		p.book.follow(n)
		dirty[n] = true
	}
}

func TestVersionsAreOfTheContent(t *testing.T) {
	t.Parallel()
	a, b := newBook(Cluster, true), newBook(Cluster, false)
	a.follow(All)
	b.follow(All)
	x, y := Resource{Name: "x", Version: "1", Body: []byte{1}}, Resource{Name: "y", Version: "2", Body: []byte{1}}
	a.learn(All, []Resource{x})
	a.learn(All, []Resource{x, y})
	b.learn(All, []Resource{x, y})
	if a.version() != b.version() {
		t.Errorf("the same content has versions %s and %s", a.version(), b.version())
	}
	before := a.version()
	a.learn(All, []Resource{x})
	a.takeGone()
	if a.version() == before {
		t.Error("less content has the same version")
	}
}

func FuzzHasEndpoints(f *testing.F) {
	for _, typ := range []clusterv3.Cluster_DiscoveryType{clusterv3.Cluster_EDS, clusterv3.Cluster_STRICT_DNS} {
		b, err := proto.Marshal(&clusterv3.Cluster{Name: "x", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: typ}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &clusterv3.Cluster{}
		if proto.Unmarshal(body, c) != nil {
			return
		}
		if got, want := hasEndpoints(body), c.GetType() == clusterv3.Cluster_EDS; got != want && c.GetClusterType() == nil {
			t.Errorf("hasEndpoints of %x is %t, want %t", body, got, want)
		}
	})
}
