// Package differential gives the same manifests to a real Envoy and to Fairlead's own proxy, and compares what becomes of
// requests.
//
// In: meshes, made up from a seed or taken from the tests of internal/compile. The Envoy gets them as internal/xds/envoy has
// them, all that a client of the mesh would be told, put into one configuration. Out: what differs. docs/differences.md lists what
// does so on purpose. What differs otherwise is made smaller: rules and requests with one thing less are tried, all at once, each
// as a host of its own, until none is left that still differs.
//
// The tests are behind the build tag "envoy" and part of `make envoy`, which fetches the binary. Nothing here needs root or
// another network than the loopback.
package differential
