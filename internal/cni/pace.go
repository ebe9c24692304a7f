package cni

import "time"

const (
	// paceQuiet is how long a configuration must have lasted for the count of changes to start anew.
	paceQuiet = 20 * time.Second
	// paceFirst is the pause after the second change in a row. It doubles up to paceMax.
	paceFirst = 250 * time.Millisecond
	paceMax   = 30 * time.Second
	// paceTroubled is the number of changes in a row that no network plugin's own start explains.
	paceTroubled = 5
)

// pace keeps two programs that undo each other's work from doing so without end.
type pace struct {
	count int
	at    time.Time // of the last change
}

// changed notes a change and gives the number of changes in a row.
func (p *pace) changed(now time.Time) int {
	if now.Sub(p.at) > p.delay()+paceQuiet {
		p.count = 0
	}
	p.count++
	p.at = now
	return p.count
}

// pause is how long to wait before the next change.
func (p *pace) pause(now time.Time) time.Duration {
	return max(0, p.at.Add(p.delay()).Sub(now))
}

// delay is the time between the last change and the next.
func (p *pace) delay() time.Duration {
	if p.count < 2 {
		return 0
	}
	d := paceFirst
	for range p.count - 2 {
		if d *= 2; d >= paceMax {
			return paceMax
		}
	}
	return d
}
