// Package demoapp is the app that Fairlead's examples and tests run: a server that says who it is and what it
// received, fails and delays on request, and a client that counts who answered.
//
// In: arguments and environment of one process (see [Main]). Out: HTTP on the configured ports, plain TCP where asked
// for; JSON bodies; for the client, counts and latencies. It knows nothing of the mesh.
//
// Everything is safe for concurrent use. It stores nothing but its readiness switch. Debug it with curl: GET / answers
// with everything it knows.
package demoapp
