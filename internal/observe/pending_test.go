package observe

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// told gives the events that came, as "ID path", with a + where the request goes on.
func (f *frames) told() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.all {
		if v.Event == nil {
			continue
		}
		text := fmt.Sprint(v.Event.ID, " ", v.Event.Path)
		if v.Event.Begun {
			text += "+"
		}
		list = append(list, text)
	}
	f.all = nil
	return list
}

// TestLongRequestsAreToldOfBeforeTheirEnd: after a second, once, under the number that their end has.
func TestLongRequestsAreToldOfBeforeTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := podAt("a", "10.0.0.1")
		w.town.add(a)
		tap, endA := w.connect(a, nil)
		if tap.Wants() || tap.Begun(call("/nobody", 0)) != 0 {
			t.Error("something is kept while nobody taps")
		}
		shown, end := w.tap(Query{MaxRPS: 100, Begins: true, Filter: Filter{Method: "GET"}})
		plain, endPlain := w.tap(Query{MaxRPS: 100})
		check := func(when string, f *frames, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := f.told(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		long, short, other := call("/long", 200), call("/short", 200), call("/other", 200)
		other.Method = []byte("POST")
		long.Number, short.Number, other.Number = tap.Begun(long), tap.Begun(short), tap.Begun(other)
		if long.Number == 0 || short.Number == 0 || other.Number != 0 {
			t.Errorf("numbers %d, %d, %d: want two, and none for what the filter leaves out", long.Number, short.Number, other.Number)
		}
		time.Sleep(begunAfter / 2)
		tap.Record(short)
		tap.Record(other)
		check("half a second", shown, "1 /short")
		check("half a second, of a tap without begins", plain, "1 /short", "2 /other")
		time.Sleep(begunAfter)
		check("a second", shown, "2 /long+")
		time.Sleep(time.Minute)
		check("a minute", shown)
		tap.Record(long)
		check("the end", shown, "2 /long")
		check("the end, of a tap without begins", plain, "3 /long")

		status, endStatus := w.tap(Query{MaxRPS: 100, Begins: true, Filter: Filter{Status: "200"}})
		end()
		synctest.Wait()
		hangs := call("/hangs", 200)
		hangs.Number = tap.Begun(hangs)
		time.Sleep(2 * begunAfter)
		check("a status that is not known yet", status)
		tap.Record(hangs)
		check("the end", status, "1 /hangs")
		endStatus()
		endPlain()
		endA()
		w.joined.Wait()
	})
}

// TestRequestsThatGoOnAreBounded: of very many some are told of, each once, and the end of every one. A flood does not pass
// --max-rps, and what was not told for that is told later.
func TestRequestsThatGoOnAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := podAt("a", "10.0.0.1")
		w.town.add(a)
		tap, endA := w.connect(a, nil)
		shown, end := w.tap(Query{MaxRPS: 20, Begins: true})
		const many = 3 * maxPending
		numbers := make([]uint64, many)
		for i := range numbers {
			numbers[i] = tap.Begun(call("/", 0))
		}
		time.Sleep(begunAfter + time.Millisecond)
		synctest.Wait()
		if n := len(shown.told()); n != 20 {
			t.Errorf("%d are told of at once, want 20", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		seen := shown.told()
		slices.Sort(seen)
		if n := len(slices.Compact(slices.Clone(seen))); n != len(seen) || n != maxPending-20 {
			t.Errorf("%d are told of later, %d different ones; want %d", len(seen), n, maxPending-20)
		}
		ends := 0
		for _, number := range numbers {
			r := call("/", 200)
			r.Number = number
			tap.Record(r)
			time.Sleep(time.Second)
			synctest.Wait()
			ends += len(shown.told())
		}
		if ends != many {
			t.Errorf("%d ends are told of, want %d", ends, many)
		}
		if p := tap.list()[0].pending; p.used != 0 || p.silent != 0 || p.bytes > tapBuffer {
			t.Errorf("%d places with %d silent and %d bytes are left", p.used, p.silent, p.bytes)
		}
		end()
		endA()
		w.joined.Wait()
	})
}
