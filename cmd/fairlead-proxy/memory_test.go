package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuietFindsTheEndOfABusyTime: memory is given back once after each, not while calls are made, and not for ever
// again while nothing happens.
func TestQuietFindsTheEndOfABusyTime(t *testing.T) {
	const ms = time.Millisecond
	var q quiet
	var used time.Duration
	for i, step := range []struct {
		spent time.Duration
		want  bool
	}{
		{200 * ms, false}, // the start
		{3 * ms, true},
		{3 * ms, false},
		{0, false},
		{900 * ms, false}, // calls
		{900 * ms, false},
		{lullCPU + 1, false},
		{lullCPU, true},
		{lullCPU, false},
	} {
		used += step.spent
		if got := q.after(used); got != step.want {
			t.Errorf("lull %d with %s of CPU: %t, want %t", i, step.spent, got, step.want)
		}
	}
}

func TestProgramPagesLeavesWhatCanBeWritten(t *testing.T) {
	const maps = `00400000-007d1000 r-xp 00000000 fe:00 1049  /usr/bin/fairlead-proxy
007d1000-00c3f000 r--p 003d1000 fe:00 1049  /usr/bin/fairlead-proxy
00c3f000-00c8a000 rw-p 0083f000 fe:00 1049  /usr/bin/fairlead-proxy
00c8a000-00cd0000 rw-p 00000000 00:00 0
c000000000-c000400000 rw-p 00000000 00:00 0
7ffd0000-7ffe0000 r-xp 00000000 00:00 0     [vdso]
7f000000-7f001000 r--p 00000000 fe:00 7     /etc/other
nonsense
`
	want := []mapping{{0x400000, 0x3d1000}, {0x7d1000, 0x46e000}}
	if got := programPages(strings.NewReader(maps), "/usr/bin/fairlead-proxy"); !slices.Equal(got, want) {
		t.Errorf("programPages = %x, want %x", got, want)
	}
}

func TestProgramPagesFindsThisProgram(t *testing.T) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if got := programPages(maps, exe); len(got) == 0 {
		t.Error("no mapping of this program found")
	}
}

// TestGrowth: the more is alive, the less the heap may grow, and a pace stays while what is alive swings.
func TestGrowth(t *testing.T) {
	now := relaxed
	for i, step := range []struct {
		alive uint64 // MiB
		want  int
	}{{3, 200}, {7, 200}, {8, 50}, {5, 50}, {19, 50}, {20, 25}, {11, 25}, {30, 25}, {9, 50}, {4, 50}, {3, 200}} {
		if now = growth(now, step.alive<<20); now != step.want {
			t.Errorf("step %d, with %d MiB alive: %d %%, want %d", i, step.alive, now, step.want)
			now = step.want
		}
	}
}

// TestCrowdGathers: memory is given back when a crowd has come to rest, and after a while also where it does not.
func TestCrowdGathers(t *testing.T) {
	for _, tt := range []struct {
		name string
		more time.Duration // between two words
		n    int
		want time.Duration
	}{
		{"one word", 0, 0, crowdGathers},
		{"three more", crowdGathers / 2, 3, 5 * crowdGathers / 2},
		{"too late", 2 * crowdGathers, 1, crowdGathers},
		{"without an end", crowdGathers / 2, 1000, crowdRests},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crowded := make(chan struct{}, 1)
				var words []*time.Timer
				for i := range tt.n {
					words = append(words, time.AfterFunc(time.Duration(i+1)*tt.more, func() {
						select {
						case crowded <- struct{}{}:
						default:
						}
					}))
				}
				defer func() {
					for _, w := range words {
						w.Stop()
					}
				}()
				begun := time.Now()
				gathered(t.Context(), crowded)
				if took := time.Since(begun); took != tt.want {
					t.Errorf("gathered after %s, want %s", took, tt.want)
				}
			})
		})
	}
}
