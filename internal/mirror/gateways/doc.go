// Package gateways asks the gateways of linked clusters whether they are alive, as Linkerd's service mirror does.
//
// In: which gateways there are and how each is asked. Out: the addresses that are alive, how long they take to answer, and a call
// whenever the addresses change. A gateway counts as alive until it has failed as often in a row as its Link says, and again after
// one answer; one that is not to be asked is always alive. An answer other than 200 is a failure, and so is a name that cannot be
// resolved: the addresses that it had last are those that fail.
//
// A Prober is safe for concurrent use. Each gateway has a goroutine, which Run joins; there are as many as Links name, which is
// bounded there. It never follows a redirect and reads at most a few bytes of an answer. To debug: /debug/mirrorz on the monitor port,
// or "fairlead multicluster gateways".
package gateways
