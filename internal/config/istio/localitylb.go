package istio

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

// MeshLocalityLB reads the localityLbSetting of the mesh, YAML or JSON. Nothing written gives nil.
func MeshLocalityLB(written string) (*model.LocalityLB, []model.Problem, error) {
	if strings.TrimSpace(written) == "" {
		return nil, nil, nil
	}
	var in networking.LocalityLoadBalancerSetting
	raw, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, nil, fmt.Errorf("localityLbSetting: %w", err)
	}
	if err := protojson.Unmarshal(raw, &in); err != nil {
		return nil, nil, fmt.Errorf("localityLbSetting: %w", err)
	}
	r := report{}
	return r.localityLB("localityLbSetting", &in), r.Problems, nil
}

// localityLB reads where calls go by locality. Unlike Istio it does so without outlierDetection: an endpoint that is not
// ready or refuses connections is reason enough to go elsewhere.
func (r *report) localityLB(field string, in *networking.LocalityLoadBalancerSetting) *model.LocalityLB {
	if in == nil {
		return nil
	}
	return &model.LocalityLB{
		Off:              in.GetEnabled() != nil && !in.GetEnabled().GetValue(),
		Distribute:       r.distribute(field, in),
		Failover:         r.failover(field, in),
		FailoverPriority: r.failoverPriority(field, in),
	}
}

func (r *report) distribute(field string, in *networking.LocalityLoadBalancerSetting) []model.LocalityShares {
	if len(in.GetDistribute()) > 0 && len(in.GetFailover()) > 0 {
		r.Reject(field+".distribute", "cannot go with failover", "keep one of them")
	}
	var out []model.LocalityShares
	var from []model.LocalityPattern
	for i, d := range in.GetDistribute() {
		at := fmt.Sprintf("%s.distribute[%d]", field, i)
		p := r.localityPattern(at+".from", d.GetFrom())
		if p != "*" { // which is for all that those before it leave
			r.apart(at+".from", p, from)
		}
		from = append(from, p)
		out = append(out, model.LocalityShares{From: p, To: r.shares(at+".to", d.GetTo())})
	}
	return out
}

// shares reads the parts of the calls that go to some localities, which make a whole.
func (r *report) shares(field string, in map[string]uint32) []model.LocalityShare {
	var out []model.LocalityShare
	var before []model.LocalityPattern
	total := uint64(0)
	for _, to := range sortedKeys(in) {
		at := field + "[" + to + "]"
		if in[to] == 0 {
			r.Reject(at, "0 is not a share", "remove the locality")
		}
		total += uint64(in[to])
		p := r.localityPattern(at, to)
		r.apart(at, p, before)
		before = append(before, p)
		out = append(out, model.LocalityShare{To: p, Percent: in[to]})
	}
	if total != 100 {
		r.Reject(field, fmt.Sprintf("the shares are %d together", total), "make them 100")
	}
	return out
}

func (r *report) localityPattern(field, written string) model.LocalityPattern {
	p, err := model.ParseLocalityPattern(written)
	if err != nil {
		r.Reject(field, err.Error(), `write "region", "region/zone", "region/zone/subzone", "region/*" or "*"`)
	}
	return p
}

// apart refuses a pattern that covers what one before it does.
func (r *report) apart(field string, p model.LocalityPattern, before []model.LocalityPattern) {
	i := slices.IndexFunc(before, p.Overlaps)
	if i >= 0 && p != "" && before[i] != "" {
		r.Reject(field, fmt.Sprintf("%q overlaps with %q", p, before[i]), "name each locality once")
	}
}

func (r *report) failover(field string, in *networking.LocalityLoadBalancerSetting) []model.RegionFailover {
	var out []model.RegionFailover
	for i, f := range in.GetFailover() {
		at := fmt.Sprintf("%s.failover[%d]", field, i)
		r.region(at+".from", f.GetFrom())
		r.region(at+".to", f.GetTo())
		if f.GetFrom() == f.GetTo() {
			r.Reject(at+".to", fmt.Sprintf("%q fails over to itself", f.GetTo()), "name another region")
		}
		if slices.ContainsFunc(out, func(o model.RegionFailover) bool { return o.From == f.GetFrom() }) {
			r.Warn(at+".from", fmt.Sprintf("%q is there twice: the first counts", f.GetFrom()), "keep one of them")
		}
		out = append(out, model.RegionFailover{From: f.GetFrom(), To: f.GetTo()})
	}
	return out
}

func (r *report) region(field, name string) {
	if name == "" || strings.ContainsAny(name, "/*") {
		r.Reject(field, fmt.Sprintf("%q is not a region", name), "name a region, without zone or wildcard")
	}
}

func (r *report) failoverPriority(field string, in *networking.LocalityLoadBalancerSetting) []string {
	if len(in.GetDistribute()) > 0 && len(in.GetFailoverPriority()) > 0 {
		r.Warn(field+".failoverPriority", "no effect beside distribute, as with Istio", "keep one of them")
	}
	for i, label := range in.GetFailoverPriority() {
		at := fmt.Sprintf("%s.failoverPriority[%d]", field, i)
		name, _, _ := strings.Cut(label, "=")
		switch name {
		case "":
			r.Reject(at, fmt.Sprintf("%q names no label", label), `write "name" or "name=value"`)
		case model.LabelRegion, model.LabelZone, model.LabelSubZone:
			if len(in.GetFailover()) > 0 {
				r.Reject(at, name+" cannot go with failover", "keep one of them")
			}
		}
		if strings.Count(label, "=") > 1 {
			r.Reject(at, fmt.Sprintf("%q is not a label", label), `write "name" or "name=value"`)
		}
	}
	return slices.Clone(in.GetFailoverPriority())
}
