package lb

import (
	"cmp"
	"maps"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// bySetting reports whether a localityLbSetting says where calls go. What a Service says is not asked then.
func (o *Options) bySetting() bool {
	return o.Locality != nil && !o.Locality.Off && o.Proximity != model.OnlySameNode
}

// ranked groups endpoints by how far the setting says they are: Istio's priorities, without gaps.
func ranked[A any](o *Options, all []*Endpoint[A]) []part[A] {
	here := o.Here.site()
	byRank := map[int]*part[A]{}
	for _, e := range all {
		rank := o.Locality.Rank(here, siteOf(&e.Host))
		if byRank[rank] == nil {
			byRank[rank] = &part[A]{}
		}
		byRank[rank].put(e)
	}
	var out []part[A]
	for _, rank := range slices.Sorted(maps.Keys(byRank)) {
		p := byRank[rank]
		if p.known > 0 {
			p.level = len(out)
		}
		out = append(out, *p)
	}
	return out
}

// distributed groups endpoints by locality, with the share of the calls that the setting gives to each; ok is false where it
// shares out nothing. Where it has no share for the caller there is one part; endpoints in no locality that gets a share are
// in none. Several localities of one share divide it by the weights of their endpoints.
func distributed[A any](o *Options, all []*Endpoint[A]) (_ []part[A], ok bool) {
	if len(o.Locality.Distribute) == 0 {
		return nil, false
	}
	shares, ok := o.Locality.SharesOf(o.Here.Locality)
	if !ok {
		var p part[A]
		for _, e := range all {
			p.put(e)
		}
		return []part[A]{p}, true
	}
	var out []part[A]
	for _, s := range shares {
		within := localities(all, s.To)
		total := 0.0
		for i := range within {
			total += within[i].weight
		}
		for _, p := range within {
			p.weight *= float64(s.Percent) / max(total, 1)
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b part[A]) int { return cmp.Compare(b.weight, a.weight) })
	return out, true
}

// localities groups the endpoints that a pattern covers by where they are, with the sums of their weights.
func localities[A any](all []*Endpoint[A], pattern model.LocalityPattern) []part[A] {
	at := map[model.Locality]int{}
	var out []part[A]
	for _, e := range all {
		l := e.Plan.Locality
		if !pattern.Covers(l) {
			continue
		}
		i, known := at[l]
		if !known {
			i = len(out)
			at[l] = i
			out = append(out, part[A]{})
		}
		out[i].put(e)
		if e.Plan.Health != plan.Draining {
			out[i].weight += float64(e.Plan.Weight)
		}
	}
	return out
}

// put adds an endpoint.
func (p *part[A]) put(e *Endpoint[A]) {
	p.members = append(p.members, e)
	if e.Plan.Health == plan.Healthy {
		p.candidates = append(p.candidates, e)
	}
	if e.Plan.Health != plan.Draining {
		p.known++
	}
}

// members are the endpoints that are in some part.
func members[A any](parts []part[A]) []*Endpoint[A] {
	var out []*Endpoint[A]
	for i := range parts {
		out = append(out, parts[i].members...)
	}
	return out
}
