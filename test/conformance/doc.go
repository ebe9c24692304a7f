// Package conformance runs suites that others wrote; run.sh is the way in. It is a module of its own so that what the
// suites need stays out of the product.
package conformance
