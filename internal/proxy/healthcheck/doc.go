// Package healthcheck makes the checks that HealthCheckPolicies ask for, and says what came of them: those of the sidecar's own
// workload, and those of endpoints that it calls and that have no sidecar, each by a Checker of its own.
//
// In: the checks, as the control plane sends them with the workload's inbound policy, and a way to dial past the
// redirection. Out: Options.Report gets all results whenever one of them is another; Results, WriteMetrics and the log show
// them.
//
// When a check counts as failing, or not any more, is decided by verdict, a value without clock or socket. A check is made
// each interval; while one more answer could turn the result, and before the first pass, the next one follows after no
// more than the timeout, so that an app that hangs is found after one interval and as many timeouts as the threshold says.
//
// One goroutine per check, joined by Run, at most one connection each; any goroutine may call Set and what reads. What was
// found of a check that stays the same survives Set. The package never decides what becomes of the workload: callers that
// have another endpoint leave it alone (internal/proxy/lb).
//
// To debug: fairlead_health_check_failing in the metrics, and the two lines in the log.
package healthcheck
