package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

// pageOf is what a sidecar says after so many failures, of which it remembers the last three, each called by its number.
func pageOf(total int) *admin.Failures {
	page := &admin.Failures{Pod: "users-1", Namespace: "myapp", Total: uint64(total)}
	for n := total; n > max(0, total-3); n-- {
		page.Failures = append(page.Failures, admin.Failure{
			Direction: "outbound", Protocol: "HTTP/1.1", Method: "GET", Authority: "a", Path: "/" + strings.Repeat("x", n), Status: 500 + n%2,
		})
	}
	return page
}

func TestFailuresAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, notes strings.Builder
		s := &failureStream{out: &out, notes: &notes, filter: &failureFilter{last: 1}}
		pages := []*admin.Failures{pageOf(2), pageOf(3), pageOf(3), pageOf(8), pageOf(1)}
		gone := errors.New("gone")
		began := time.Now()
		err := followFailures(t.Context(), s, pages[0], func() (*admin.Failures, error) {
			if pages = pages[1:]; len(pages) == 0 {
				return nil, gone
			}
			return pages[0], nil
		})
		if !errors.Is(err, gone) || time.Since(began) != 5*failuresEvery {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		var got []int
		for line := range strings.Lines(out.String()) {
			if _, path, ok := strings.Cut(line, "a/"); ok {
				got = append(got, strings.Count(path[:strings.IndexByte(path, ' ')], "x"))
			}
		}
		if want := []int{2, 3, 6, 7, 8, 1}; !slices.Equal(got, want) || !strings.HasPrefix(out.String(), "TIME ") {
			t.Errorf("showed %v, want %v:\n%s", got, want, out.String())
		}
		for _, want := range []string{"2 more failed and were forgotten", "the sidecar of users-1.myapp has begun anew"} {
			if !strings.Contains(notes.String(), want) {
				t.Errorf("notes lack %q: %s", want, notes.String())
			}
		}
	})
}

func TestFollowingFailuresEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*failuresEvery/2)
		defer cancel()
		var out strings.Builder
		s := &failureStream{out: &out, notes: &out, filter: &failureFilter{status: "500", not: true}, json: true}
		err := followFailures(ctx, s, pageOf(3), func() (*admin.Failures, error) { return pageOf(3), nil })
		if !errors.Is(err, context.DeadlineExceeded) || strings.Count(out.String(), "\n") != 2 || strings.Contains(out.String(), `"status":500`) {
			t.Errorf("%v: %s", err, out.String())
		}
	})
}
