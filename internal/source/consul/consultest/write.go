package consultest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
)

const (
	nodeServices = "/v1/catalog/node-services/"
	maxWritten   = 1 << 20
)

// Registered is what a request has registered, as far as it is kept.
type Registered struct {
	Node, Address  string
	SkipNodeUpdate bool
	NodeMeta       map[string]string
	Service        struct {
		ID, Service, Address, Kind string
		Port                       int
		Tags                       []string
		Meta                       map[string]string
		Weights                    struct{ Passing, Warning int }
	}
}

// Instances gives what the catalog has of a service.
func (f *Fake) Instances(dc, service string) []Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.dcs[dc].services[service])
}

// write answers requests that change the catalog.
func (f *Fake) write(w http.ResponseWriter, r *http.Request, dc string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxWritten))
	if err == nil {
		switch r.URL.Path {
		case "/v1/catalog/register":
			err = f.register(dc, body)
		case "/v1/catalog/deregister":
			err = f.deregister(dc, body)
		default:
			http.NotFound(w, r)
			return
		}
	}
	if err != nil {
		http.Error(w, "Request decode failed: "+err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, 0, true)
}

func (f *Fake) register(dc string, body []byte) error {
	var in Registered
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	s := &in.Service
	f.edit(dc, func(d *datacenter) {
		d.index++
		if _, there := d.nodes[in.Node]; !there || !in.SkipNodeUpdate {
			d.nodes[in.Node] = in
		}
		if s.Service == "" {
			return
		}
		d.remove(in.Node, s.ID)
		d.services[s.Service] = append(d.services[s.Service], Instance{
			ID: s.ID, Address: s.Address, Port: s.Port, Tags: s.Tags, Meta: s.Meta, Kind: s.Kind, Passing: s.Weights.Passing, Warning: s.Weights.Warning, Node: in.Node,
		})
	})
	return nil
}

func (f *Fake) deregister(dc string, body []byte) error {
	var in struct{ Node, ServiceID string }
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	f.edit(dc, func(d *datacenter) {
		d.index++
		d.remove(in.Node, in.ServiceID)
		if in.ServiceID == "" {
			delete(d.nodes, in.Node)
		}
	})
	return nil
}

// remove takes an instance of a node out of the catalog, or all of it where no ID is given.
func (d *datacenter) remove(node, id string) {
	for name, list := range d.services {
		list = slices.DeleteFunc(slices.Clone(list), func(i Instance) bool { return i.node() == node && (i.ID == id || id == "") })
		if d.services[name] = list; len(list) == 0 {
			delete(d.services, name)
		}
	}
}

// at is what the catalog has at a node.
func (d *datacenter) at(dc, node string) any {
	list := []any{}
	for name, instances := range d.services {
		for _, i := range instances {
			if i.node() == node {
				list = append(list, i.service(name))
			}
		}
	}
	if _, there := d.nodes[node]; !there && len(list) == 0 {
		return map[string]any{"Node": nil, "Services": list}
	}
	return map[string]any{"Node": d.node(dc, node), "Services": list}
}
