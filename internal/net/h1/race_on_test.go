//go:build race

package h1

// raceSlack is what sync.Pool costs under the race detector, where it drops a quarter of what it is given.
const raceSlack = 4
