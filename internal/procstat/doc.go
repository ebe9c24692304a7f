// Package procstat says what its own process uses: processor time, memory, open files, goroutines.
//
// In: nothing but the kernel's files on this process and Go's runtime. Out: figures with the names, meanings and units that
// Prometheus' client for Go gives them, so that dashboards know them; what cannot be read is left out. Names have no prefix:
// that of a sidecar is Istio's, whose agent is another process in the pod of an app that may have the same names.
//
// Reading stops no goroutine, and costs a look at each open file. It may be called from any goroutine. To debug: /proc/PID/stat
// and /proc/PID/fd say the same.
package procstat
