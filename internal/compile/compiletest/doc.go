// Package compiletest turns manifests into what the control plane would send, for tests that show what a user gets.
//
// In: YAML. Out: a snapshot, or compiled resources. A test of the data plane that starts here proves the product; one
// that starts from a plan made by hand proves the data plane alone.
package compiletest
