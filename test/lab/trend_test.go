package lab_test

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"
)

// slack is how much a series may grow over a run: what comes of noise and of caches that fill.
type slack struct{ share, absolute float64 }

// trend is how a series has moved over its last two thirds.
type trend struct {
	// grown is by how much, as a line through it has it.
	grown float64
	// deviations says how far it rises more often than it falls, in standard deviations of a series of chance.
	deviations float64
	// grows says that it has grown by more than the slack, and that chance does not explain it.
	grows bool
}

// trendOf judges a series.
//
// The first third is left out: there pools and heaps fill. The line is that of Theil and Sen, whose slope is the median of the
// slopes between all pairs of samples, so that a collection of garbage or a restart does not tilt it. Chance is the test of Mann
// and Kendall: of n samples without a trend, the number of pairs that rise less the number of those that fall is normal around
// 0 with variance n(n-1)(2n+5)/18; three deviations above that happen once in 700 series.
func trendOf(samples []float64, s slack) trend {
	samples = samples[len(samples)/3:]
	n := len(samples)
	if n < 5 {
		return trend{}
	}
	var slopes []float64
	score := 0
	for i := range samples {
		for j := i + 1; j < n; j++ {
			slopes = append(slopes, (samples[j]-samples[i])/float64(j-i))
			score += cmp.Compare(samples[j], samples[i])
		}
	}
	t := trend{
		grown:      median(slopes) * float64(n-1),
		deviations: float64(score) / math.Sqrt(float64(n*(n-1)*(2*n+5))/18),
	}
	t.grows = t.grown > max(s.absolute, s.share*median(samples)) && t.deviations > 3
	return t
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// graph draws a series in one line of at most width characters, between its least and its largest value. A character is the
// largest of the samples that it stands for.
func graph(samples []float64, width int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	low, high := slices.Min(samples), slices.Max(samples)
	width = min(width, len(samples))
	var b strings.Builder
	for col := range width {
		part := samples[col*len(samples)/width : (col+1)*len(samples)/width]
		level := 0
		if high > low {
			level = int((slices.Max(part) - low) / (high - low) * float64(len(levels)-1))
		}
		b.WriteRune(levels[level])
	}
	return b.String()
}

// times gives n values of f.
func times(n int, f func(i int) float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = f(i)
	}
	return out
}

func TestTrendOf(t *testing.T) {
	t.Parallel()
	saw := func(i int) float64 { return float64(i % 7 * 5) } // as a heap between collections
	tests := []struct {
		name    string
		samples []float64
		want    bool
	}{
		{"none", nil, false},
		{"too_few", []float64{1, 100, 200, 300, 400}, false},
		{"flat", times(30, func(int) float64 { return 100 }), false},
		{"saw", times(30, func(i int) float64 { return 100 + saw(i) }), false},
		{"fills_at_first", times(30, func(i int) float64 { return 100 + float64(min(i, 9)*50) }), false},
		{"one_peak", times(30, func(i int) float64 { return 100 + float64(i/29*1000) }), false},
		{"falls", times(30, func(i int) float64 { return 1000 - float64(20*i) }), false},
		{"grows_within_the_slack", times(30, func(i int) float64 { return 100 + float64(i)/2 }), false},
		{"grows", times(30, func(i int) float64 { return 100 + float64(4*i) }), true},
		{"grows_under_a_saw", times(180, func(i int) float64 { return 100 + float64(i) + saw(i) }), true},
		{"grows_slowly_from_much", times(180, func(i int) float64 { return 10000 + float64(i) }), false},
		{"more_by_chance", times(9, func(i int) float64 { return []float64{0, 0, 0, 100, 300, 0, 400, 100, 300}[i] }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := trendOf(tt.samples, slack{share: 0.1, absolute: 20}); got.grows != tt.want {
				t.Errorf("trendOf = %+v, want %t", got, tt.want)
			}
		})
	}
}

func TestGraph(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		samples []float64
		width   int
		want    string
	}{
		{[]float64{1, 2, 4, 8, 8, 1}, 6, "▁▂▄██▁"},
		{[]float64{0, 7, 0, 0, 0, 0}, 3, "█▁▁"},
		{[]float64{5, 5}, 10, "▁▁"},
	} {
		if got := graph(tt.samples, tt.width); got != tt.want {
			t.Errorf("graph(%v, %d) = %q, want %q", tt.samples, tt.width, got, tt.want)
		}
	}
}
