package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestMergeExports(t *testing.T) {
	http := model.PortFacts{Name: "http", Protocol: "TCP", Port: 80}
	offer := func(by string, age int64, change ...func(*model.Offer)) model.Offer {
		o := model.Offer{
			Export:  &model.ServiceExport{Ref: model.Ref{Kind: "ServiceExport", Key: model.Key{Namespace: "a", Name: "b"}, Cluster: by}, By: by, CreatedAt: time.Unix(1000-age, 0)},
			Service: &model.Service{Facts: model.ServiceFacts{Ports: []model.PortFacts{http}}},
		}
		for _, f := range change {
			f(&o)
		}
		return o
	}
	ports := func(list ...model.PortFacts) func(*model.Offer) {
		return func(o *model.Offer) { o.Service.Facts.Ports = list }
	}
	for _, tt := range []struct {
		name             string
		offers           []model.Offer
		clusters, result string
		conflicts        []string
	}{
		{"nothing", nil, "", "", nil},
		{"no Service", []model.Offer{offer("east", 1, func(o *model.Offer) { o.Service = nil })}, "", "", nil},
		{"a name for another host", []model.Offer{offer("east", 1, func(o *model.Offer) { o.Service.ExternalName = "x" })}, "", "", nil},
		{"one", []model.Offer{offer("east", 1)}, "east", "http 80/TCP", nil},
		{"two that agree", []model.Offer{offer("east", 1), offer("west", 2)}, "west east", "http 80/TCP", nil},
		{"one of two is not valid", []model.Offer{offer("east", 1), offer("west", 2, func(o *model.Offer) { o.Service = nil })}, "east", "http 80/TCP", nil},
		{
			"ports of both",
			[]model.Offer{offer("east", 1), offer("west", 2, ports(http, model.PortFacts{Name: "x", Protocol: "SCTP", Port: 142}))},
			"west east", "http 80/TCP, x 142/SCTP", nil,
		},
		{
			"one number for two protocols",
			[]model.Offer{offer("east", 1, ports(model.PortFacts{Name: "t", Protocol: "TCP", Port: 42}, model.PortFacts{Name: "u", Protocol: "UDP", Port: 42}))},
			"east", "t 42/TCP, u 42/UDP", nil,
		},
		{
			"a name with two numbers",
			[]model.Offer{offer("east", 1, ports(model.PortFacts{Name: "http", Protocol: "TCP", Port: 81})), offer("west", 2)},
			"west east", "http 80/TCP",
			[]string{"PortConflict: east: spec.ports[0]: east has port http 81/TCP, and west has port http 80/TCP: the latter counts, its export is older"},
		},
		{
			"a number with two names, of one age",
			[]model.Offer{offer("west", 1, ports(model.PortFacts{Name: "web", Protocol: "TCP", Port: 80})), offer("east", 1)},
			"east west", "http 80/TCP",
			[]string{"PortConflict: west: spec.ports[0]: west has port web 80/TCP, and east has port http 80/TCP: the latter counts, its name is first of two exports of one age"},
		},
		{
			"two protocols",
			[]model.Offer{offer("east", 1, ports(model.PortFacts{Name: "http", Protocol: "TCP", Port: 80, AppProtocol: "h2c"})), offer("west", 2)},
			"west east", "http 80/TCP",
			[]string{"PortConflict: east: spec.ports[0]: east has port http 80/TCP (h2c), and west has port http 80/TCP: the latter counts, its export is older"},
		},
		{
			"headless in one",
			[]model.Offer{offer("east", 1, func(o *model.Offer) { o.Service.Headless = true }), offer("west", 2)},
			"west east", "http 80/TCP",
			[]string{"TypeConflict: east: spec.clusterIP: east says headless, and west says not headless: the latter counts, its export is older"},
		},
		{
			"headless in the older one",
			[]model.Offer{offer("east", 1), offer("west", 2, func(o *model.Offer) { o.Service.Headless = true })},
			"west east", "headless http 80/TCP",
			[]string{"TypeConflict: east: spec.clusterIP: east says not headless, and west says headless: the latter counts, its export is older"},
		},
		{
			"affinity",
			[]model.Offer{offer("east", 1), offer("west", 2, func(o *model.Offer) { o.Service.SessionAffinity, o.Service.Facts.AffinityTimeout = true, 10 })},
			"west east", "affinity 10 http 80/TCP",
			[]string{"SessionAffinityConflict: east: spec.sessionAffinity: east says None, and west says ClientIP: the latter counts, its export is older"},
		},
		{
			"time of affinity",
			[]model.Offer{
				offer("east", 1, func(o *model.Offer) { o.Service.SessionAffinity, o.Service.Facts.AffinityTimeout = true, 20 }),
				offer("west", 2, func(o *model.Offer) { o.Service.SessionAffinity, o.Service.Facts.AffinityTimeout = true, 10 }),
			},
			"west east", "affinity 10 http 80/TCP",
			[]string{"SessionAffinityConfigConflict: east: spec.sessionAffinityConfig: east says 20 seconds, and west says 10 seconds: the latter counts, its export is older"},
		},
		{
			"policy and distribution",
			[]model.Offer{offer("east", 1, func(o *model.Offer) {
				o.Service.Facts.OnlySameNode, o.Service.Facts.Distribution = true, "PreferSameZone"
			}), offer("west", 2)},
			"west east", "http 80/TCP",
			[]string{
				"InternalTrafficPolicyConflict: east: spec.internalTrafficPolicy: east says Local, and west says Cluster: the latter counts, its export is older",
				"TrafficDistributionConflict: east: spec.trafficDistribution: east says PreferSameZone, and west says none: the latter counts, its export is older",
			},
		},
		{
			"labels",
			[]model.Offer{offer("east", 1, func(o *model.Offer) { o.Export.Labels = map[string]string{"a": "1"} }), offer("west", 2)},
			"west east", "http 80/TCP",
			[]string{"LabelsConflict: east: spec.exportedLabels: east says a=1, and west says none: the latter counts, its export is older"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 {
				var clusters, result string
				got, conflicts := model.MergeExports(tt.offers)
				if got != nil {
					clusters = strings.Join(got.Clusters, " ")
					var words []string
					if got.Headless {
						words = append(words, "headless")
					}
					if got.Affinity {
						words = append(words, fmt.Sprintf("affinity %d", got.AffinityTimeout))
					}
					var list []string
					for _, p := range got.Ports {
						list = append(list, p.String())
					}
					result = strings.Join(append(words, strings.Join(list, ", ")), " ")
				}
				if clusters != tt.clusters || result != tt.result {
					t.Errorf("= %q of %q, want %q of %q", result, clusters, tt.result, tt.clusters)
				}
				var lines []string
				for _, c := range conflicts {
					lines = append(lines, c.Reason+": "+c.By+": "+c.Field+": "+c.Message)
				}
				if diff := cmp.Diff(tt.conflicts, lines); diff != "" {
					t.Errorf("conflicts (-want +got):\n%s", diff)
				}
				if c := model.Conflict(conflicts); c.Holds != (len(conflicts) > 0) || c.Reason == "" {
					t.Errorf("condition = %+v", c)
				}
				slices.Reverse(tt.offers) // the order in which clusters are heard makes no difference
			}
		})
	}
}
