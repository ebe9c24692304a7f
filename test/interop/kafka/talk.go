package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	partitions = 6
	records    = 3000
	// largeLen is a record close to the largest that brokers take.
	largeLen = 1 << 20 * 9 / 10
)

// client is one who talks, and what he talks about.
type client struct {
	server, topic string
	failed        bool
}

// said prints what came of a step. The server's name and addresses are left out, for they differ.
func (c *client) said(name string, err error, body string) {
	status := 0
	if err != nil {
		status, body = 1, err.Error()
		c.failed = true
	}
	line, _ := json.Marshal(map[string]any{"Name": name, "Status": status, "Body": strings.ReplaceAll(body, c.server, "SERVER")}) // cannot fail
	fmt.Fprintln(os.Stdout, string(line))
}

func (c *client) dial(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(net.JoinHostPort(c.server, fmt.Sprint(firstPort))), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchMaxWait(time.Second),
	}, opts...)...)
}

// talk goes through what clients do.
func talk(ctx context.Context, server, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := &client{server: server, topic: topic}
	cl, err := c.dial(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer cl.Close()
	step := func(name string, do func(context.Context, *kgo.Client) (string, error)) {
		if !c.failed {
			body, err := do(ctx, cl)
			c.said(name, err, body)
		}
	}
	step("brokers", c.brokers)
	step("topic", c.create)
	step("produce", c.produce)
	step("large", c.large)
	step("consume", c.consume)
	step("moved", c.moved)
	step("group", c.group)
	step("refused", c.refused)
	return nil
}

// brokers lists where they say that they are.
func (c *client) brokers(ctx context.Context, cl *kgo.Client) (string, error) {
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return "", err
	}
	var at []string
	for _, b := range resp.Brokers {
		host := b.Host
		if net.ParseIP(host) != nil {
			host = "ADDRESS"
		}
		at = append(at, fmt.Sprintf("%d=%s:%d", b.NodeID, host, b.Port))
	}
	slices.Sort(at)
	return strings.Join(at, " "), nil
}

// create makes the topic; its partitions are led by all three brokers.
func (c *client) create(ctx context.Context, cl *kgo.Client) (string, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = c.topic, partitions, 1
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", err
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return "", err
	}
	for p := range int32(partitions) {
		if err := c.lead(ctx, cl, p, p%3); err != nil {
			return "", err
		}
	}
	return fmt.Sprint(partitions), nil
}

// lead has a broker lead a partition.
func (c *client) lead(ctx context.Context, cl *kgo.Client, partition, broker int32) error {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = c.topic
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, []int32{broker}
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// produce sends many small records to all partitions, and has each acknowledged.
func (c *client) produce(ctx context.Context, cl *kgo.Client) (string, error) {
	var all []*kgo.Record
	for i := range records {
		all = append(all, &kgo.Record{Partition: int32(i % partitions), Value: fmt.Append(nil, i)})
	}
	if err := cl.ProduceSync(ctx, all...).FirstErr(); err != nil {
		return "", err
	}
	last := make([]int64, partitions)
	for _, r := range all {
		last[r.Partition] = max(last[r.Partition], r.Offset)
	}
	return fmt.Sprint("last offsets ", last), nil
}

func (c *client) large(ctx context.Context, cl *kgo.Client) (string, error) {
	var all []*kgo.Record
	for p := range int32(partitions) {
		all = append(all, &kgo.Record{Partition: p, Value: bytes.Repeat([]byte{byte('a' + p)}, largeLen)})
	}
	return fmt.Sprint(len(all)), cl.ProduceSync(ctx, all...).FirstErr()
}

// consume reads all partitions from the beginning: their records in their order.
func (c *client) consume(ctx context.Context, _ *kgo.Client) (string, error) {
	cl, err := c.dial(kgo.ConsumeTopics(c.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	sums := make([][]byte, partitions)
	for n := 0; n < records+partitions; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return "", fmt.Errorf("after %d records: %w", n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			sum := sha256.Sum256(append(sums[r.Partition], r.Value...))
			sums[r.Partition] = sum[:]
		})
	}
	all := sha256.Sum256(bytes.Join(sums, nil))
	return fmt.Sprintf("%x", all[:8]), nil
}

// moved has another broker lead a partition of which the client believes that it is where it was: the old one sends it on.
func (c *client) moved(ctx context.Context, cl *kgo.Client) (string, error) {
	for _, to := range []int32{1, 2, 0} {
		if err := c.lead(ctx, cl, 0, to); err != nil {
			return "", err
		}
		r := &kgo.Record{Partition: 0, Value: []byte("moved")}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			return "", err
		}
	}
	return "3", nil
}

// group has two consumers share the partitions, until all records are committed and each has had some of the partitions.
func (c *client) group(ctx context.Context, cl *kgo.Client) (string, error) {
	const want = records + partitions + 3
	var assigned [2]atomic.Bool
	var members [2]*kgo.Client
	for i := range members {
		m, err := c.dial(kgo.ConsumeTopics(c.topic), kgo.ConsumerGroup(c.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DisableAutoCommit(), kgo.HeartbeatInterval(200*time.Millisecond),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
				if len(got[c.topic]) > 0 {
					assigned[i].Store(true)
				}
			}))
		if err != nil {
			return "", err
		}
		defer m.Close()
		members[i] = m
	}
	for {
		for _, m := range members {
			if err := readOn(ctx, m); err != nil {
				return "", err
			}
		}
		n, err := c.committed(ctx, cl)
		if err != nil || n == want && assigned[0].Load() && assigned[1].Load() {
			return fmt.Sprint(n), err
		}
	}
}

// readOn reads some records and commits them, unless the partitions are being shared out anew: then who gets them reads them again.
func readOn(ctx context.Context, m *kgo.Client) error {
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := m.PollRecords(short, 500).Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err := m.CommitUncommittedOffsets(ctx)
	if errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID) {
		return ctx.Err()
	}
	return err
}

// committed adds up what the group has committed, as the broker says that coordinates it.
func (c *client) committed(ctx context.Context, cl *kgo.Client) (sum int64, err error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = c.topic
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = c.topic
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				sum += max(p.Offset, 0)
			}
		}
	}
	return sum, nil
}

// refused is a record that is larger than brokers take, and a topic that is not there.
func (c *client) refused(ctx context.Context, _ *kgo.Client) (string, error) {
	cl, err := c.dial(kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	large := cl.ProduceSync(ctx, &kgo.Record{Topic: c.topic, Value: make([]byte, 2<<20)}).FirstErr()
	missing := cl.ProduceSync(ctx, &kgo.Record{Topic: c.topic + "-missing", Value: []byte("x")}).FirstErr()
	if large == nil || missing == nil {
		return "", fmt.Errorf("a record that is too large: %w; one of a topic that is not there: %w", large, missing)
	}
	return strings.ReplaceAll(large.Error()+"; "+missing.Error(), c.topic, "TOPIC"), nil
}
