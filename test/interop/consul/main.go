// Command consul reads a Consul by HashiCorp's own client and prints what it has understood, as JSON: consul ADDRESS TOKEN SERVICE
// DATACENTER INDEX. With consul ADDRESS TOKEN write NODE it registers an instance at a node and another one, deregisters that again, and
// prints what the catalog has at the node. make consul runs it against the fake of the tests.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
)

// Seen is what the client has understood.
type Seen struct {
	Own         string
	Datacenters []string
	Services    map[string][]string
	Instances   []Instance
	Index       uint64
	KnownLeader bool
	Status      int // of an answer that is an error; 0 where there was none
}

// Instance is one of a service.
type Instance struct {
	Node, NodeAddress, Datacenter, ID, Address, Status, Region, Kind string
	Port, Passing, Warning                                           int
	Tags                                                             []string
	Meta                                                             map[string]string
}

func main() {
	if len(os.Args) != 6 && (len(os.Args) != 5 || os.Args[3] != "write") {
		fmt.Fprintln(os.Stderr, "usage: consul ADDRESS TOKEN SERVICE DATACENTER INDEX | consul ADDRESS TOKEN write NODE")
		os.Exit(2)
	}
	var seen Seen
	var err error
	if len(os.Args) == 5 {
		seen, err = write(os.Args[1], os.Args[2], os.Args[4])
	} else {
		seen, err = look(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	var status api.StatusError
	if errors.As(err, &status) {
		seen, err = Seen{Status: status.Code}, nil
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(seen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "consul:", err)
		os.Exit(1)
	}
}

func look(address, token, service, datacenter, index string) (seen Seen, err error) {
	client, err := api.NewClient(&api.Config{Address: address, Token: token})
	if err != nil {
		return seen, err
	}
	self, err := client.Agent().Self()
	if err != nil {
		return seen, err
	}
	seen.Own, _ = self["Config"]["Datacenter"].(string)
	if seen.Datacenters, err = client.Catalog().Datacenters(); err != nil {
		return seen, err
	}
	at, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return seen, err
	}
	if seen.Services, _, err = client.Catalog().Services(&api.QueryOptions{Datacenter: datacenter, AllowStale: true}); err != nil {
		return seen, err
	}
	list, meta, err := client.Health().Service(service, "", false, &api.QueryOptions{Datacenter: datacenter, AllowStale: true, WaitIndex: at, WaitTime: time.Minute})
	if err != nil {
		return seen, err
	}
	seen.Index, seen.KnownLeader = meta.LastIndex, meta.KnownLeader
	for _, e := range list {
		i := Instance{
			Node: e.Node.Node, NodeAddress: e.Node.Address, Datacenter: e.Node.Datacenter, ID: e.Service.ID, Address: e.Service.Address,
			Status: e.Checks.AggregatedStatus(), Kind: string(e.Service.Kind), Port: e.Service.Port,
			Passing: e.Service.Weights.Passing, Warning: e.Service.Weights.Warning, Tags: e.Service.Tags, Meta: e.Service.Meta,
		}
		if e.Service.Locality != nil {
			i.Region = e.Service.Locality.Region
		}
		seen.Instances = append(seen.Instances, i)
	}
	return seen, nil
}

// write registers "client-1" and "client-2" of a service "client" at a node, deregisters the second one, and gives what is there.
func write(address, token, node string) (seen Seen, err error) {
	client, err := api.NewClient(&api.Config{Address: address, Token: token})
	if err != nil {
		return seen, err
	}
	for i := 1; i <= 2; i++ {
		_, err := client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "127.0.0.1", SkipNodeUpdate: true, NodeMeta: map[string]string{"written": "later"},
			Service: &api.AgentService{
				ID: "client-" + strconv.Itoa(i), Service: "client", Address: "10.0.0.7", Port: 7000 + i, Tags: []string{"x"}, Meta: map[string]string{"a": "b"},
			},
		}, nil)
		if err != nil {
			return seen, err
		}
	}
	if _, err := client.Catalog().Deregister(&api.CatalogDeregistration{Node: node, ServiceID: "client-2"}, nil); err != nil {
		return seen, err
	}
	list, _, err := client.Catalog().NodeServiceList(node, nil)
	if err != nil {
		return seen, err
	}
	seen.Own = list.Node.Meta["external-source"]
	for _, s := range list.Services {
		seen.Instances = append(seen.Instances, Instance{
			Node: list.Node.Node, NodeAddress: list.Node.Address, Datacenter: list.Node.Datacenter, ID: s.ID, Address: s.Address, Kind: string(s.Kind), Port: s.Port,
			Passing: s.Weights.Passing, Warning: s.Weights.Warning, Tags: s.Tags, Meta: s.Meta,
		})
	}
	sort.Slice(seen.Instances, func(i, j int) bool { return seen.Instances[i].ID < seen.Instances[j].ID })
	return seen, nil
}
