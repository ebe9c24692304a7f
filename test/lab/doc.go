// Package lab holds the stories of the mesh: each test starts a lab from manifests, with the real binaries, and
// asserts on what a user, an app or an operator sees.
//
// In: the module's three commands, built once by TestMain into a directory of its own, and manifests written by the
// tests. Out: verdicts only; the package has no code but tests. They run under plain "go test ./..." as root and as an
// ordinary user, because a lab needs no root.
//
// The stories of one file share a lab where they do not disturb each other; labs run beside each other. Nothing
// sleeps and nothing is tried again: what takes time is awaited with a deadline (eventually). Where a story has a long
// form (a minute of load, a body of 5 GB), FAIRLEAD_LONG=1 selects it; figures of speed are printed (-v) and judged
// only there, because other tests share the machine.
//
// To debug a failure, read the logs that it prints: those of the lab, the control plane and every sidecar.
package lab
