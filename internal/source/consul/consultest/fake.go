// Package consultest is a Consul for tests: the endpoints that are read, with blocking queries, and the two that are written. Their
// shapes are checked by HashiCorp's own client (make consul).
package consultest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Instance is one instance of a service.
type Instance struct {
	ID, Address      string // Address may be empty: then it is the node's
	Port             int
	Status           string // of its check; "passing" where it is empty
	Tags             []string
	Meta             map[string]string
	Kind             string
	Passing, Warning int // weights; 1 where both are 0
	Region, Zone     string
	Node             string // "node" where it is empty
}

// NodeAddress is that of the node that instances are on which were not registered by a request.
const NodeAddress = "192.0.2.250"

// Fake is a Consul of several datacenters, all of which any of its addresses answers for. It is safe for concurrent use.
type Fake struct {
	mu    sync.Mutex
	own   string // guarded by mu, as all below
	order []string
	dcs   map[string]*datacenter
	token string
	fault http.HandlerFunc
	asked []string
}

type datacenter struct {
	index    uint64
	services map[string][]Instance
	nodes    map[string]Registered // those that were registered by a request
	changed  chan struct{}
}

// New makes one; the first datacenter is its own. Each has the service of its servers.
func New(datacenters ...string) *Fake {
	f := &Fake{own: datacenters[0], order: datacenters, dcs: map[string]*datacenter{}}
	for _, name := range datacenters {
		f.dcs[name] = &datacenter{index: 10, services: map[string][]Instance{"consul": {{ID: "consul", Port: 8300}}}, nodes: map[string]Registered{}, changed: make(chan struct{})}
	}
	return f
}

// Set replaces the instances of a service; none takes it out of the catalog.
func (f *Fake) Set(dc, service string, list ...Instance) {
	f.edit(dc, func(d *datacenter) {
		d.index++
		if d.services[service] = list; len(list) == 0 {
			delete(d.services, service)
		}
	})
}

// SetIndex has the index of a datacenter jump, as after a restore.
func (f *Fake) SetIndex(dc string, index uint64) { f.edit(dc, func(d *datacenter) { d.index = index }) }

func (f *Fake) edit(dc string, change func(*datacenter)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.dcs[dc]
	change(d)
	close(d.changed)
	d.changed = make(chan struct{})
}

// Break has a handler answer instead of it, also the questions that are held open by then; nil mends it.
func (f *Fake) Break(fault http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Demand has it refuse other tokens than this one.
func (f *Fake) Demand(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = token
}

// Asked gives the questions since the last call: path and query.
func (f *Fake) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.asked = nil }()
	return slices.Clone(f.asked)
}

// ServeHTTP answers.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.RequestURI())
	fault, token, own, order := f.fault, f.token, f.own, f.order
	dc := r.URL.Query().Get("dc")
	if dc == "" {
		dc = own
	}
	d := f.dcs[dc]
	f.mu.Unlock()
	service, one := strings.CutPrefix(r.URL.Path, "/v1/health/service/")
	switch {
	case fault != nil:
		fault(w, r)
	case token != "" && r.Header.Get("X-Consul-Token") != token:
		http.Error(w, "ACL not found", http.StatusForbidden)
	case r.URL.Path == "/v1/agent/self":
		answer(w, 0, map[string]any{"Config": map[string]any{"Datacenter": own, "NodeName": "node", "Server": true, "Version": "1.21.0"}, "Member": map[string]any{"Name": "node"}})
	case r.URL.Path == "/v1/catalog/datacenters":
		answer(w, 0, order)
	case d == nil:
		http.Error(w, "No path to datacenter", http.StatusInternalServerError)
	case r.Method == http.MethodPut:
		f.write(w, r, dc)
	case strings.HasPrefix(r.URL.Path, nodeServices):
		f.serve(w, r, d, func(d *datacenter) any { return d.at(dc, strings.TrimPrefix(r.URL.Path, nodeServices)) })
	case r.URL.Path == "/v1/catalog/services":
		f.block(r.Context(), d, r)
		f.serve(w, r, d, catalogOf)
	case one:
		f.block(r.Context(), d, r)
		f.serve(w, r, d, func(d *datacenter) any { return d.entriesOf(dc, service, d.services[service]) })
	default:
		http.NotFound(w, r)
	}
}

// block waits as a blocking query does: until the index is beyond the one that is known, or until its time is over.
func (f *Fake) block(ctx context.Context, d *datacenter, r *http.Request) {
	known, err := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	if err != nil || known == 0 {
		return
	}
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	f.mu.Lock()
	changed, beyond := d.changed, d.index > known
	f.mu.Unlock()
	if beyond {
		return
	}
	select { // once something has changed, whatever: a return is no promise
	case <-changed:
	case <-over.C:
	case <-ctx.Done():
	}
}

// serve answers a question that blocks, when that is over.
func (f *Fake) serve(w http.ResponseWriter, r *http.Request, d *datacenter, value func(*datacenter) any) {
	f.mu.Lock()
	fault, index, v := f.fault, d.index, value(d)
	f.mu.Unlock()
	if fault != nil { // since the question was asked
		fault(w, r)
		return
	}
	answer(w, index, v)
}

func answer(w http.ResponseWriter, index uint64, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if index > 0 {
		h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
		h.Set("X-Consul-KnownLeader", "true")
		h.Set("X-Consul-LastContact", "0")
	}
	w.Write(body)
}

func catalogOf(d *datacenter) any {
	out := map[string][]string{}
	for name, list := range d.services {
		tags := []string{}
		for _, i := range list {
			tags = append(tags, i.Tags...)
		}
		slices.Sort(tags)
		out[name] = slices.Compact(tags)
	}
	return out
}

func (d *datacenter) entriesOf(dc, service string, list []Instance) any {
	out := []any{}
	for _, i := range list {
		if i.Status == "" {
			i.Status = "passing"
		}
		out = append(out, map[string]any{
			"Node":    d.node(dc, i.node()),
			"Service": i.service(service),
			"Checks": []any{
				map[string]any{"Node": i.node(), "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "ServiceID": "", "ServiceName": ""},
				map[string]any{"Node": i.node(), "CheckID": "service:" + i.ID, "Name": "check", "Status": i.Status, "ServiceID": i.ID, "ServiceName": service},
			},
		})
	}
	return out
}

func (i *Instance) node() string { return cmp.Or(i.Node, "node") }

// service is an instance as it is told.
func (i *Instance) service(name string) map[string]any {
	passing, warning := i.Passing, i.Warning
	if passing == 0 && warning == 0 {
		passing, warning = 1, 1
	}
	out := map[string]any{
		"ID": i.ID, "Kind": i.Kind, "Service": name, "Address": i.Address, "Port": i.Port, "Tags": i.Tags, "Meta": i.Meta,
		"Weights":         map[string]any{"Passing": passing, "Warning": warning},
		"TaggedAddresses": map[string]any{}, "EnableTagOverride": false, "Proxy": map[string]any{"Mode": ""}, "Connect": map[string]any{},
		"CreateIndex": 10, "ModifyIndex": 10,
	}
	if i.Region != "" {
		out["Locality"] = map[string]any{"Region": i.Region, "Zone": i.Zone}
	}
	return out
}

// node is a node as it is told.
func (d *datacenter) node(dc, name string) map[string]any {
	n, there := d.nodes[name]
	if !there {
		n = Registered{Address: NodeAddress, NodeMeta: map[string]string{}}
	}
	return map[string]any{
		"ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": name, "Address": n.Address, "Datacenter": dc,
		"TaggedAddresses": map[string]any{"lan": n.Address}, "Meta": n.NodeMeta, "CreateIndex": 10, "ModifyIndex": 10,
	}
}
