package history

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"fairlead.dev/fairlead/internal/traffic"
)

// sampleFrom makes a sample of bytes: pairs of a column and how large its number is.
func sampleFrom(raw []byte) (s traffic.Sample) {
	n := numbers(&s)
	for len(raw) >= 2 {
		*n[int(raw[0])%columns] = uint64(1)<<(raw[1]%64) | uint64(raw[1])
		raw = raw[2:]
	}
	return s
}

// fill adds samples that raw says, each behind its length and how many steps lie before it, as far as they fit.
func fill(b *block, first int64, raw []byte) (want []timed) {
	step := first
	for len(raw) > 2 {
		step += int64(raw[0] % 9)
		end := min(1+int(raw[1]%32), len(raw)-1)
		s := sampleFrom(raw[1 : 1+end])
		raw = raw[1+end:]
		if !b.fits(step) {
			break
		}
		b.add(step, &s)
		if last := len(want) - 1; last >= 0 && want[last].step == step {
			want[last].sample.Then(&s)
			continue
		}
		want = append(want, timed{step, s})
	}
	return want
}

type timed struct {
	step   int64
	sample traffic.Sample
}

func checkBlock(t *testing.T, raw []byte) {
	t.Helper()
	var b, back block
	for i := range back.column { // what was in it before
		for j := range back.column[i] {
			back.column[i][j] = 77
		}
	}
	want := fill(&b, 29_000_000, raw)
	if len(want) == 0 {
		return
	}
	coded, rest := split(b.appendTo(nil))
	first, last := span(coded)
	if len(rest) != 0 || first != want[0].step || last != want[len(want)-1].step {
		t.Fatalf("steps %d to %d and %d bytes behind, want %d to %d", first, last, len(rest), want[0].step, want[len(want)-1].step)
	}
	back.decode(coded)
	i := 0
	back.each(first, func(step int64, s *traffic.Sample) {
		if step != want[i].step || *s != want[i].sample {
			t.Fatalf("sample %d: step %d %+v, want step %d %+v", i, step, *s, want[i].step, want[i].sample)
		}
		i++
	})
	if i != len(want) {
		t.Fatalf("%d samples, want %d", i, len(want))
	}
	for from := first - 1; from <= last+1; from += 3 {
		for to := from; to <= last+2; to += 5 {
			var sum, each traffic.Sample
			back.sum(from, to, &sum)
			for i := range want {
				if want[i].step >= from && want[i].step <= to {
					each.Then(&want[i].sample)
				}
			}
			if sum != each {
				t.Fatalf("sum of steps %d to %d: %+v, want %+v", from, to, sum, each)
			}
		}
	}
}

// TestBlocksGiveSamplesBack for samples of every kind: without answers, of one class alone, with numbers of 64 bits, those of one step
// in two reports.
func TestBlocksGiveSamplesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		raw := make([]byte, 8*r.IntN(120))
		for i := 0; i < len(raw); i += 8 {
			binary.LittleEndian.PutUint64(raw[i:], r.Uint64())
		}
		checkBlock(t, raw)
	}
	var b, back block
	gen := rand.New(rand.NewPCG(5, 6))
	var want []traffic.Sample
	for step := range int64(blockSteps) {
		s := busy(gen, 50, 12)
		b.add(1000+step, &s)
		want = append(want, s)
	}
	coded, _ := split(b.appendTo(nil))
	t.Logf("a block of %d busy steps has %d bytes", blockSteps, len(coded))
	back.decode(coded)
	back.each(0, func(step int64, s *traffic.Sample) {
		if *s != want[step-1000] {
			t.Errorf("step %d: %+v, want %+v", step, *s, want[step-1000])
		}
	})
}

func FuzzBlock(f *testing.F) {
	f.Add([]byte("\x00\x04\x01\x02\x03\x04\x05\x06\x01\x02\x02\x30"))
	f.Add([]byte("\x00\x02\x02\x3f\x00\x02\x02\x3f\x08\x02\x06\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) { checkBlock(t, raw) })
}
