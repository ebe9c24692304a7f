// Package mcs runs the Multi-Cluster Services API's own conformance suite, which is a module of its own for what it pulls in. See
// run.sh.
package mcs
