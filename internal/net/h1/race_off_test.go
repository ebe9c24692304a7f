//go:build !race

package h1

const raceSlack = 0
