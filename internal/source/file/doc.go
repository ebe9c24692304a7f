// Package file makes directories and files of Kubernetes manifests the registry, as an API server would be.
//
// In: paths of YAML and JSON manifests. Out: typed objects (k8s.io/api, istio.io/client-go, gateway-api) with the
// place where they were written, and a [model.Problem] with file and line for everything that is wrong with them.
// [Decode] reads one text, [Load] reads paths once, [Source] reads them and follows every edit.
//
// It is strict: an unknown or misplaced field, a wrong type, an unknown enum value, a duplicate key refuses the
// object and says what was probably meant. Plain scalars mean what they mean to kubectl (YAML 1.1: an unquoted yes
// is true). A kind of a mesh API that is not obeyed is a warning (package catalog); kinds that mean nothing to a mesh are
// counted and passed over.
//
// It does no harm: while a file does not parse, or any object in it is refused, every object last read from that
// file stays in force. An object is gone once a file that reads well no longer holds it, or once its file is gone.
// Paths given later override earlier ones; the dot-file ".deleted" of a path lists objects, one "Kind
// namespace/name" per line, that are hidden in all earlier paths. Within one path the first file by name wins.
//
// All functions are pure but for reading files, and safe for concurrent use. A Source calls its sink from the
// goroutine of Run only. It never writes, never follows a loop of symlinks, and never looks into hidden files.
//
// To debug: `fairlead validate -f PATH` prints what this package makes of PATH; at debug level the Source logs each
// batch with the files that caused it.
package file
