package dns

import (
	"net/netip"
	"strconv"
	"testing"
)

func TestShares(t *testing.T) {
	const all = 120
	one := netip.MustParseAddrPort("127.0.0.1:1")
	many := func(i int) netip.AddrPort { return netip.AddrPortFrom(one.Addr(), uint16(1000+i)) }
	for _, tc := range []struct {
		name string
		// source and zone of the flood's i-th question
		source func(i int) netip.AddrPort
		zone   func(i int) string
		want   int
		// whether a new source is let in with a question of a zone of its own, and of the flood's first one
		other, same bool
	}{
		{
			name:   "one_socket",
			source: func(int) netip.AddrPort { return one }, zone: strconv.Itoa,
			want: all / 2, other: true, same: true,
		},
		{
			name:   "three_sockets_leave_a_quarter",
			source: func(i int) netip.AddrPort { return many(i % 3) }, zone: strconv.Itoa,
			want: all * 3 / 4, other: true, same: true,
		},
		{
			name:   "few_sockets_and_one_zone",
			source: func(i int) netip.AddrPort { return many(i % 3) }, zone: func(int) string { return "z" },
			want: all / 2, other: true, same: true,
		},
		{
			name:   "a_socket_per_question",
			source: many, zone: func(int) string { return "z" },
			want: all * 3 / 4, other: true, same: false,
		},
		{
			name:   "sockets_and_zones_without_end",
			source: many, zone: strconv.Itoa,
			want: all, other: false, same: false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newShares(all)
			var taken []int
			for i := range 10 * all {
				if s.take(tc.source(i), tc.zone(i)) {
					taken = append(taken, i)
				}
			}
			if len(taken) != tc.want {
				t.Errorf("the flood has %d questions in work, want %d", len(taken), tc.want)
			}
			newcomer := netip.MustParseAddrPort("127.0.0.1:53")
			for zone, want := range map[string]bool{"quiet": tc.other, tc.zone(0): tc.same} {
				got := s.take(newcomer, zone)
				if got != want {
					t.Errorf("another client's question about zone %q: %t, want %t", zone, got, want)
				}
				if got {
					s.give(newcomer, zone)
				}
			}
			for _, i := range taken {
				s.give(tc.source(i), tc.zone(i))
			}
			if s.free != all || len(s.sources) != 0 || len(s.zones) != 0 {
				t.Errorf("when all are done: %d free, %d sources, %d zones", s.free, len(s.sources), len(s.zones))
			}
		})
	}
}
