package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Sizes of tables where nothing is said, and Envoy's bounds.
const (
	defaultRingSize  = 1024
	maxRingSize      = 8388608
	maxMaglevSize    = 5000011
	ringForAffinity  = 1024
	percentForBounds = 100
)

// balance chooses the algorithm of an Envoy. Those that Envoy lacks are replaced by the one that is nearest: by latencies as by
// requests in flight.
func balance(out *clusterv3.Cluster, b *plan.Backend) {
	out.CommonLbConfig = commonBalance(b)
	if b.ClientAffinity {
		out.LbPolicy, out.LbConfig = clusterv3.Cluster_RING_HASH, ring(ringForAffinity)
		return
	}
	switch b.LB {
	case model.RoundRobin, model.Utilization:
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if slow := slowStart(b.WarmUp); slow != nil {
			out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow}}
		}
	case model.Random:
		out.LbPolicy = clusterv3.Cluster_RANDOM
	case model.RingHash:
		out.LbPolicy, out.LbConfig = clusterv3.Cluster_RING_HASH, ring(b.Hash.TableSize)
	case model.Maglev:
		out.LbPolicy = clusterv3.Cluster_MAGLEV
		if size := b.Hash.TableSize; size > 0 {
			out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(uint64(min(size, maxMaglevSize)))},
			}
		}
	case model.LBUnset, model.LeastRequest, model.PeakEWMA, model.Passthrough:
		out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if slow := slowStart(b.WarmUp); slow != nil {
			out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow}}
		}
	}
}

// balanceGRPC chooses among the two algorithms that all of gRPC's libraries have; others are refused by some of them, with the
// cluster.
func balanceGRPC(out *clusterv3.Cluster, b *plan.Backend) {
	out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	if b.ClientAffinity || b.LB.Hashes() {
		size := uint32(0)
		if b.LB == model.RingHash {
			size = b.Hash.TableSize
		}
		out.LbPolicy, out.LbConfig = clusterv3.Cluster_RING_HASH, ring(size)
	}
}

func ring(size uint32) *clusterv3.Cluster_RingHashLbConfig_ {
	if size == 0 {
		size = defaultRingSize
	}
	return &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(uint64(min(size, maxRingSize))), HashFunction: clusterv3.Cluster_RingHashLbConfig_XX_HASH,
	}}
}

// commonBalance sets when endpoints that are not well are called all the same. Without a rule that says so they never are,
// while Envoy on its own does it where less than half are well.
func commonBalance(b *plan.Backend) *clusterv3.Cluster_CommonLbConfig {
	out := &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}}
	if b.Outlier != nil {
		out.HealthyPanicThreshold.Value = float64(min(b.Outlier.MinHealthPercent, percentForBounds))
	}
	if b.Locality != nil && !b.Locality.Off && len(b.Locality.Distribute) > 0 {
		out.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	if b.LB.Hashes() && b.Hash.BalanceFactor >= percentForBounds {
		out.ConsistentHashingLbConfig = &clusterv3.Cluster_CommonLbConfig_ConsistentHashingLbConfig{
			HashBalanceFactor: wrapperspb.UInt32(b.Hash.BalanceFactor),
		}
	}
	return out
}

// slowStart is how calls come to an endpoint that has just become ready.
func slowStart(w *model.WarmUp) *clusterv3.Cluster_SlowStartConfig {
	if w == nil || w.Duration <= 0 {
		return nil
	}
	out := &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow: durationpb.New(w.Duration), MinWeightPercent: &typev3.Percent{Value: min(max(w.MinimumPercent, 0), percentForBounds)},
	}
	if w.Aggression > 0 {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: w.Aggression, RuntimeKey: "fairlead.slow_start.aggression"}
	}
	return out
}
