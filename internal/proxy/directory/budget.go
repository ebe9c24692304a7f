package directory

import "sync/atomic"

// Budget bounds retries to a fifth of the requests, with a reserve so that the sudden loss of an endpoint with many
// requests in flight is still absorbed.
type Budget struct{ spent atomic.Int64 } // in fifths of a retry; negative = credit

const (
	budgetRatio   = 5   // requests per retry
	budgetReserve = 100 // retries
)

// Request deposits the share of one request.
func (b *Budget) Request() {
	if b.spent.Load() > 0 {
		b.spent.Add(-1)
	}
}

// Take withdraws one retry, or reports false.
func (b *Budget) Take() bool {
	if b.spent.Add(budgetRatio) > budgetReserve*budgetRatio {
		b.spent.Add(-budgetRatio)
		return false
	}
	return true
}
