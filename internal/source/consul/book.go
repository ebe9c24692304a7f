package consul

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"google.golang.org/protobuf/proto"

	"fairlead.dev/fairlead/internal/consulsync"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// maxProblems bounds what is said at a time.
const maxProblems = 200

// book is what is known of all datacenters. It belongs to Run's goroutine.
type book struct {
	o     *Options
	watch func(watch) (stop func())

	own         string // what the agent's own datacenter is called, "" while that is not known
	found       bool   // which datacenters there are
	datacenters map[string]*datacenter

	upserts  map[model.Ref]source.Object
	deletes  map[model.Ref]bool
	problems []model.Problem // as last told
}

// datacenter is one that is followed; by "" in book.datacenters the agent's own.
type datacenter struct {
	stop     func() // of the watch of its catalog
	asked    string // as in questions
	status   Status
	services map[string]*followed
	problems []model.Problem // of its catalog
	answered bool            // well or not
}

// followed is a service of a datacenter.
type followed struct {
	stop        func()
	answered    bool   // well or not
	cause       string // why it cannot be read at present
	translation translation
	hosts       map[model.Ref]*networking.ServiceEntry // in force
}

func newBook(o *Options, start func(watch) (stop func())) *book {
	b := &book{
		o: o, watch: start, datacenters: map[string]*datacenter{}, upserts: map[model.Ref]source.Object{}, deletes: map[model.Ref]bool{},
	}
	b.add("")
	return b
}

func (b *book) add(asked string) {
	d := &datacenter{asked: asked, services: map[string]*followed{}, status: Status{Datacenter: asked}}
	b.datacenters[asked] = d
	d.stop = b.watch(watch{datacenter: asked})
}

// take takes a report. One of something that is followed no longer says nothing.
func (b *book) take(r report, now time.Time) {
	if r.datacenters != nil {
		b.takeDatacenters(r)
		return
	}
	d := b.datacenters[r.datacenter]
	if d == nil {
		return
	}
	if r.err != nil {
		d.status.Failures++
	}
	if r.service == "" {
		b.takeCatalog(d, r, now)
	} else if f := d.services[r.service]; f != nil {
		b.takeService(d, f, r)
	}
}

// takeDatacenters follows those that are new. One that is listed no longer stays: a datacenter that is away may be none of the
// list's. One that is the agent's own is followed once.
func (b *book) takeDatacenters(r report) {
	b.found = true
	if r.own == "" && b.own == "" {
		return // the list may name it
	}
	if r.own != "" && r.own != b.own {
		b.own = r.own
		own := b.datacenters[""]
		own.status.Datacenter = r.own
		for name, f := range own.services {
			b.rename(own, name, f)
		}
	}
	for _, name := range r.datacenters {
		if name != b.own && dnsLabel.MatchString(name) && b.datacenters[name] == nil && len(b.datacenters) < maxDatacenters {
			b.add(name)
		}
	}
	if d := b.datacenters[b.own]; b.own != "" && d != nil {
		b.drop(d)
		delete(b.datacenters, b.own)
	}
}

func (b *book) drop(d *datacenter) {
	d.stop()
	for name, f := range d.services {
		b.end(d, name, f)
	}
}

// takeCatalog follows the services that are new, and no longer those that are gone.
func (b *book) takeCatalog(d *datacenter, r report, now time.Time) {
	d.answered = true
	if r.err != nil {
		d.status.Cause = cause(r.err)
		return
	}
	d.status.Cause, d.status.Answered = "", now
	wanted := b.wanted(d, r.catalog)
	for _, name := range wanted {
		if d.services[name] == nil {
			f := &followed{hosts: map[model.Ref]*networking.ServiceEntry{}}
			d.services[name] = f
			f.stop = b.watch(watch{datacenter: d.asked, service: name})
		}
	}
	for name, f := range d.services {
		if _, there := slices.BinarySearch(wanted, name); !there {
			b.end(d, name, f)
		}
	}
	d.status.Services = len(d.services)
}

// wanted lists the services that can be called by name, in order.
func (b *book) wanted(d *datacenter, c catalog) []string {
	d.problems = nil
	var names []string
	var odd []string
	for name := range c {
		if dnsLabel.MatchString(name) {
			names = append(names, name)
		} else {
			odd = append(odd, name)
		}
	}
	slices.Sort(names)
	if len(odd) > 0 {
		d.problems = append(d.problems, b.problem(d, fmt.Sprintf("%d services, %.100q among them, have names that DNS has not: they cannot be called", len(odd), slices.Min(odd)),
			"name services in small letters, digits and dashes"))
	}
	if len(names) > maxServices {
		d.problems = append(d.problems, b.problem(d, fmt.Sprintf("%d services, the first %d are followed", len(names), maxServices), ""))
		names = names[:maxServices]
	}
	return names
}

// takeService puts the instances of a service in force. One that has none is no host; one of which none is well is, and calls of
// it fail.
func (b *book) takeService(d *datacenter, f *followed, r report) {
	f.answered = true
	if r.err != nil {
		f.cause = cause(r.err)
		return
	}
	f.cause = ""
	others := slices.DeleteFunc(r.entries, func(e entry) bool { return consulsync.Ours(e.Service.Meta, b.o.Cluster) })
	f.translation = translate(b.ref(b.hosts(d, r.service)[0]), others)
	b.rename(d, r.service, f)
}

// rename puts a service in force by the names that it has now.
func (b *book) rename(d *datacenter, name string, f *followed) {
	before := f.hosts
	f.hosts = map[model.Ref]*networking.ServiceEntry{}
	if spec := f.translation.spec; spec != nil {
		for _, host := range b.hosts(d, name) {
			ref := b.ref(host)
			f.hosts[ref] = spec
			if !proto.Equal(before[ref], spec) {
				b.upserts[ref] = object(ref, host, spec)
				delete(b.deletes, ref)
			}
		}
	}
	for ref := range before {
		if f.hosts[ref] == nil {
			b.remove(ref)
		}
	}
}

func (b *book) end(d *datacenter, name string, f *followed) {
	f.stop()
	for ref := range f.hosts {
		b.remove(ref)
	}
	delete(d.services, name)
}

func (b *book) remove(ref model.Ref) {
	delete(b.upserts, ref)
	b.deletes[ref] = true
}

// hosts are the names by which Consul's DNS knows a service.
func (b *book) hosts(d *datacenter, service string) []string {
	dc := d.asked
	var out []string
	if d.asked == "" {
		out, dc = append(out, service+".service."+b.o.Domain), b.own
	}
	if dc != "" {
		out = append(out, service+".service."+dc+"."+b.o.Domain)
	}
	return out
}

// ref names the ServiceEntry of a host: with a sign that no name of a user's object can have.
func (b *book) ref(host string) model.Ref {
	return model.Ref{Kind: "ServiceEntry", Key: model.Key{Namespace: b.o.Namespace, Name: strings.Replace(host, ".", "@", 1)}}
}

// change is what has changed since the last one.
func (b *book) change() source.Change {
	c := source.Change{Upserts: slices.Collect(maps.Values(b.upserts)), Deletes: slices.Collect(maps.Keys(b.deletes))}
	clear(b.upserts)
	clear(b.deletes)
	return c
}

// newProblems gives all problems; news is false where they are those of last time.
func (b *book) newProblems() (all []model.Problem, news bool) {
	for _, asked := range slices.Sorted(maps.Keys(b.datacenters)) {
		d := b.datacenters[asked]
		all = append(all, d.problems...)
		if d.status.Cause != "" {
			all = append(all, b.problem(d, "catalog not read: "+d.status.Cause+"; what is known of it stays in force", ""))
		}
		unread := 0
		for _, name := range slices.Sorted(maps.Keys(d.services)) {
			f := d.services[name]
			all = append(all, f.translation.problems...)
			if f.cause == "" || d.status.Cause != "" {
				continue
			}
			unread++
			if unread == 1 { // the others have the same cause, mostly
				all = append(all, b.problem(d, fmt.Sprintf("service %q not read: %s; what is known of it stays in force", name, f.cause), ""))
			}
		}
	}
	all = all[:min(len(all), maxProblems)]
	if reflect.DeepEqual(all, b.problems) {
		return nil, false
	}
	b.problems = all
	return slices.Clone(all), true
}

func (b *book) problem(d *datacenter, message, fix string) model.Problem {
	name := d.status.Datacenter
	if name == "" {
		name = "of " + b.o.Address
	}
	return model.Problem{Ref: model.Ref{Kind: "ConsulDatacenter", Key: model.Key{Name: name}}, Severity: model.Warning, Message: message, Fix: fix}
}

func (b *book) statuses() []Status {
	out := make([]Status, 0, len(b.datacenters))
	for _, asked := range slices.Sorted(maps.Keys(b.datacenters)) {
		out = append(out, b.datacenters[asked].status)
	}
	return out
}

// settled reports whether all that is followed has answered once, well or not.
func (b *book) settled() bool {
	for _, d := range b.datacenters {
		if !d.answered {
			return false
		}
		for _, f := range d.services {
			if d.status.Cause == "" && !f.answered {
				return false
			}
		}
	}
	return b.found
}
