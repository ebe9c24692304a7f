// Package envoytest gives tests everything that a client is told of a mesh, and an Envoy's configuration that holds it.
package envoytest
