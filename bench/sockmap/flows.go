package main

import (
	"cmp"
	"errors"
)

// answer is a cell of the table.
type answer struct {
	of, is string
	// meant to differ where sockets are joined.
	meant bool
}

// probe asks everything. What fails is an answer, too.
func probe() []answer {
	var out []answer
	add := func(name, is string, err error) {
		if err != nil {
			is = err.Error()
		}
		out = append(out, answer{of: name, is: is})
	}
	for _, to := range [][2]string{{listener, service4}, {listener, service6}, {"[::1]:0", ""}} {
		is, err := path(to[0], to[1])
		add("300,000 bytes to "+cmp.Or(to[1], "[::1]"), is, err)
		out[len(out)-1].meant = true
	}
	for _, q := range calls() {
		is, err := askOf(q, conn.turned)
		add(q.name+", sidecar → app", is, err)
		is, err = askOf(q, func(c conn) conn { return c })
		add(q.name+", app → sidecar", is, err)
	}
	return out
}

// askOf asks a question of a new connection, in one direction.
func askOf(q question, direction func(conn) conn) (is string, err error) {
	if q.before != nil {
		var undo func() error
		if undo, err = q.before(); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	c, err := captured()
	if err != nil {
		return "", err
	}
	defer c.Close()
	return q.ask(direction(c))
}

// path says whether bytes go by loopback, where tcpdump sees them.
func path(listener, to string) (string, error) {
	c, err := connect(listener, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return onLoopback(c)
}
