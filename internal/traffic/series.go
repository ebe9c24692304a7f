package traffic

import (
	"cmp"
	"slices"
)

// Series is how some of the traffic went, in parts of a window of time.
type Series struct {
	// Seconds is how long each part is.
	Seconds float64 `json:"seconds"`
	Points  []Point `json:"points"`
}

// Point is one part.
type Point struct {
	// At is when it begins, in seconds since 1970.
	At      int64     `json:"at"`
	Total   Total     `json:"total"`
	Latency []Latency `json:"latency,omitempty"`
}

// Sample is the point's.
func (p *Point) Sample() Sample {
	f := Flow{Total: p.Total, Latency: p.Latency}
	return f.Sample()
}

// MergeSeries puts the answers of all replicas to one question together.
func MergeSeries(answers []Series) Series {
	out := Series{Points: []Point{}}
	sums := map[int64]*Sample{}
	for i := range answers {
		out.Seconds = max(out.Seconds, answers[i].Seconds)
	}
	for i := range answers {
		for j := range answers[i].Points {
			p := &answers[i].Points[j]
			at := p.At
			if out.Seconds > answers[i].Seconds { // the other replica tells minutes
				at -= at % int64(out.Seconds)
			}
			s := p.Sample()
			if sums[at] == nil {
				sums[at] = new(Sample)
			}
			sums[at].Add(&s)
		}
	}
	for at, s := range sums {
		p := Point{At: at}
		p.Total, p.Latency = TotalOf(s)
		out.Points = append(out.Points, p)
	}
	slices.SortFunc(out.Points, func(a, b Point) int { return cmp.Compare(a.At, b.At) })
	return out
}
