package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const firstPort = 9092

// advertised says where a broker is, as its clients are told.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// listener is open at all addresses and says that it is at one.
type listener struct {
	net.Listener
	at advertised
}

func (l listener) Addr() net.Addr { return l.at }

// serve runs the brokers of one cluster until ctx ends.
func serve(ctx context.Context) error {
	hosts, err := hostsOf(os.Getenv("HOSTNAME"))
	if err != nil {
		return err
	}
	listen := func(network, address string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, network, ":"+port)
		if err != nil {
			return nil, err
		}
		return listener{l, advertised(net.JoinHostPort(hosts[n-firstPort], port))}, nil
	}
	c, err := kfake.NewCluster(kfake.Ports(firstPort, firstPort+1, firstPort+2), kfake.ListenFn(listen))
	if err != nil {
		return err
	}
	defer c.Close()
	c.ControlKey(int16(kmsg.AlterPartitionAssignments), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, move(c, req.(*kmsg.AlterPartitionAssignmentsRequest)), false
	})
	<-ctx.Done()
	return nil
}

// move makes the first replica of what is asked for the leader of its partition.
func move(c *kfake.Cluster, req *kmsg.AlterPartitionAssignmentsRequest) error {
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			if len(p.Replicas) == 0 {
				continue
			}
			if err := c.MoveTopicPartition(topic.Topic, p.Partition, p.Replicas[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostsOf gives one host for each broker: the short name of the Service, its full name, and the address of the pod.
func hostsOf(service string) ([]string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return []string{service, service + ".shop.svc.cluster.local", n.IP.String()}, nil
		}
	}
	return nil, fmt.Errorf("no address of its own among %v", addrs)
}
