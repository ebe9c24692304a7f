package main

import "strings"

// Units of Grafana.
const (
	perSecond = "reqps"
	share     = "percentunit"
	millis    = "ms"
	seconds   = "s"
	byteRate  = "Bps"
	bytes     = "bytes"
	count     = "short"
	rate      = "ops"
)

// over is the rate of a metric with the labels in selector, in the time between two points of a graph.
func over(metric, selector string) string {
	if selector != "" {
		metric += "{" + selector + "}"
	}
	return "rate(" + metric + "[$__rate_interval])"
}

func sum(expr string, by ...string) string {
	if len(by) == 0 {
		return "sum(" + expr + ")"
	}
	return "sum by (" + strings.Join(by, ", ") + ") (" + expr + ")"
}

// succeeded is the share of requests that did not end with 5xx.
func succeeded(selector string, by ...string) string {
	const requests = "istio_requests_total"
	return sum(over(requests, selector+`,response_code!~"5.."`), by...) + " / " + sum(over(requests, selector), by...)
}

func quantile(q, metric, selector string, by ...string) string {
	return "histogram_quantile(" + q + ", " + sum(over(metric+"_bucket", selector), append([]string{"le"}, by...)...) + ")"
}

// quantiles are the three that every latency is shown by.
func quantiles(metric, selector string) []query {
	return []query{{quantile("0.5", metric, selector), "p50"}, {quantile("0.95", metric, selector), "p95"}, {quantile("0.99", metric, selector), "p99"}}
}

func one(expr, legend string) []query { return []query{{expr, legend}} }

const (
	requests  = "istio_requests_total"
	durations = "istio_request_duration_milliseconds"
	// called and caller are what each end counts.
	called = `reporter="destination"`
	caller = `reporter="source"`
	// toWorkload and fromWorkload are a workload's two directions.
	toWorkload = called + `,destination_workload_namespace=~"$namespace",destination_workload=~"$workload"`
	// ownPods are a workload's pods.
	ownPods      = `namespace=~"$namespace",pod=~"$pod"`
	fromWorkload = caller + `,source_workload_namespace=~"$namespace",source_workload=~"$workload"`
)

// mesh is the page of everything at once.
func mesh() dashboard {
	const in = called + `,destination_workload_namespace=~"$namespace"`
	const out = caller + `,source_workload_namespace=~"$namespace"`
	byWorkload := []string{"destination_workload_namespace", "destination_workload"}
	const name = "{{destination_workload}}.{{destination_workload_namespace}}"
	return dashboard{
		name: "mesh", title: "Fairlead / Mesh",
		variables: []variable{{name: "namespace", label: "Namespace", values: `istio_requests_total{reporter="destination"}, destination_workload_namespace`, several: true}},
		rows: []row{
			{"Now", []panel{
				{title: "Requests", unit: perSecond, now: true, queries: one(sum(over(requests, in)), "")},
				{title: "Success", about: "Answers other than 5xx", unit: share, now: true, queries: one(succeeded(in), "")},
				{title: "p99", unit: millis, now: true, queries: one(quantile("0.99", durations, in), "")},
				{title: "Mutual TLS", about: "Share of requests that came by it", unit: share, now: true, queries: one(
					sum(over(requests, in+`,connection_security_policy="mutual_tls"`))+" / "+sum(over(requests, in)), "")},
				{title: "Sidecars", about: "Connected to the control plane", unit: count, now: true, queries: one("sum(pilot_xds)", "")},
				{title: "No healthy upstream", about: "Requests that found no endpoint", unit: perSecond, now: true, queries: one(
					sum(over(requests, out+`,response_flags=~"(.*,)?UH(,.*)?"`)), "")},
			}},
			{"Requests", []panel{
				{title: "By workload", unit: perSecond, queries: one(sum(over(requests, in), byWorkload...), name)},
				{title: "Success by workload", unit: share, queries: one(succeeded(in, byWorkload...), name)},
				{title: "p95 by workload", unit: millis, queries: one(quantile("0.95", durations, in, byWorkload...), name)},
			}},
			{"What goes wrong", []panel{
				{title: "Answers of sidecars, by flag", about: "UH no healthy upstream, UF connection failed, UC connection ended, UT timeout, NR no route, UO overflow, RL rate limit", unit: perSecond, queries: one(
					sum(over(requests, out+`,response_flags!="-"`), "response_flags", "destination_service"), "{{response_flags}} {{destination_service}}")},
				{title: "5xx by caller and service", unit: perSecond, queries: one(
					sum(over(requests, out+`,response_code=~"5.."`), "source_workload", "destination_service"), "{{source_workload}} to {{destination_service}}")},
				{title: "Plaintext, by caller", about: "Requests that came without mutual TLS; unknown is a caller outside the mesh", unit: perSecond, queries: one(
					sum(over(requests, in+`,connection_security_policy!="mutual_tls"`), "source_workload", "destination_workload"), "{{source_workload}} to {{destination_workload}}")},
			}},
			{"TCP", []panel{
				{title: "Received by workload", unit: byteRate, queries: one(sum(over("istio_tcp_received_bytes_total", in), byWorkload...), name)},
				{title: "Sent by workload", unit: byteRate, queries: one(sum(over("istio_tcp_sent_bytes_total", in), byWorkload...), name)},
				{title: "Connections opened", unit: rate, queries: one(sum(over("istio_tcp_connections_opened_total", in), byWorkload...), name)},
			}},
		},
	}
}

// workload is the page of one workload, as it is called and as it calls.
func workload() dashboard {
	return dashboard{
		name: "workload", title: "Fairlead / Workload",
		variables: []variable{
			{name: "namespace", label: "Namespace", values: `istio_requests_total{reporter="destination"}, destination_workload_namespace`},
			{name: "workload", label: "Workload", values: `istio_requests_total{reporter="destination",destination_workload_namespace=~"$namespace"}, destination_workload`},
			{name: "pod", label: "Pod", values: `istio_build{component="proxy",namespace=~"$namespace"}, pod`, several: true},
		},
		rows: []row{
			{"Called", []panel{
				{title: "Requests by caller", unit: perSecond, queries: one(sum(over(requests, toWorkload), "source_workload", "source_workload_namespace"), "{{source_workload}}.{{source_workload_namespace}}")},
				{title: "Answers", unit: perSecond, queries: one(sum(over(requests, toWorkload), "response_code", "response_flags"), "{{response_code}} {{response_flags}}")},
				{title: "Success by caller", unit: share, queries: one(succeeded(toWorkload, "source_workload"), "{{source_workload}}")},
				{title: "Latency", unit: millis, queries: quantiles(durations, toWorkload)},
			}},
			{"Who calls, and how much", []panel{
				{title: "Principals", about: "Identities that callers have proved; unknown without mutual TLS", unit: perSecond, queries: one(
					sum(over(requests, toWorkload), "source_principal", "connection_security_policy"), "{{source_principal}} {{connection_security_policy}}")},
				{title: "Bytes of requests", unit: byteRate, queries: one(sum(over("istio_request_bytes_sum", toWorkload), "source_workload"), "{{source_workload}}")},
				{title: "Bytes of responses", unit: byteRate, queries: one(sum(over("istio_response_bytes_sum", toWorkload), "source_workload"), "{{source_workload}}")},
			}},
			{"Calls", []panel{
				{title: "Requests by service", unit: perSecond, queries: one(sum(over(requests, fromWorkload), "destination_service"), "{{destination_service}}")},
				{title: "Success by service", unit: share, queries: one(succeeded(fromWorkload, "destination_service"), "{{destination_service}}")},
				{title: "p95 by service", unit: millis, queries: one(quantile("0.95", durations, fromWorkload, "destination_service"), "{{destination_service}}")},
				{title: "Where they went", about: "Versions, as routes and endpoints have it", unit: perSecond, queries: one(
					sum(over(requests, fromWorkload), "destination_workload", "destination_version"), "{{destination_workload}} {{destination_version}}")},
			}},
			{"What the sidecar did about it", []panel{
				{title: "Answers of its own, by flag", unit: perSecond, queries: one(sum(over(requests, fromWorkload+`,response_flags!="-"`), "response_flags", "destination_service"), "{{response_flags}} {{destination_service}}")},
				{title: "Retries", unit: rate, queries: one(sum(over("fairlead_retries_total", `namespace=~"$namespace",pod=~"$pod"`), "result", "cluster"), "{{result}} {{cluster}}")},
				{title: "Retries, by what failed", unit: rate, queries: one(sum(over("fairlead_retry_reasons_total", ownPods), "reason", "cluster"), "{{reason}} {{cluster}}")},
				{title: "Ejected endpoints", about: "By outlier detection", unit: count, queries: one(sum(`fairlead_outlier_ejections_active{namespace=~"$namespace",pod=~"$pod"}`, "cluster"), "{{cluster}}")},
				{title: "Turned away by connection pools", unit: rate, queries: one(sum(over("fairlead_connection_pool_overflows_total", `namespace=~"$namespace",pod=~"$pod"`), "setting", "cluster"), "{{setting}} {{cluster}}")},
			}},
			{"Routes that it takes", []panel{
				{title: "Requests by route", unit: perSecond, queries: one(sum(over("fairlead_route_requests_total", ownPods), "cluster", "route", "response_class"), "{{route}} {{cluster}} {{response_class}}")},
				{title: "Tries of a request", about: "1 where nothing is retried", unit: count, queries: one(
					sum(over("fairlead_route_tries_total", ownPods), "cluster", "route")+" / "+sum(over("fairlead_route_requests_total", ownPods), "cluster", "route"), "{{route}} {{cluster}}")},
				{title: "p95 by route", unit: millis, queries: one(quantile("0.95", "fairlead_route_duration_milliseconds", ownPods, "cluster", "route"), "{{route}} {{cluster}}")},
				{title: "Requests under way", unit: count, queries: one(sum(`fairlead_upstream_requests_active{`+ownPods+`}`, "cluster"), "{{cluster}}")},
			}},
			{"Connections", []panel{
				{title: "Open, by who opened them", unit: count, queries: one(sum(`fairlead_connections_open{`+ownPods+`}`, "from"), "{{from}}")},
				{title: "Open to others", about: "Busy and idle ones of HTTP/1.1, and shared ones of HTTP/2", unit: count, queries: one(sum(`fairlead_upstream_connections_open{`+ownPods+`}`, "to", "state"), "{{to}} {{state}}")},
			}},
			{"TCP", []panel{
				{title: "Received", unit: byteRate, queries: one(sum(over("istio_tcp_received_bytes_total", toWorkload), "source_workload"), "{{source_workload}}")},
				{title: "Sent", unit: byteRate, queries: one(sum(over("istio_tcp_sent_bytes_total", toWorkload), "source_workload"), "{{source_workload}}")},
				{title: "Connections refused", about: "Before they carried anything", unit: rate, queries: one(sum(over("fairlead_connections_refused_total", `namespace=~"$namespace",pod=~"$pod"`), "reason"), "{{reason}}")},
			}},
			{"Sidecars", []panel{
				{title: "CPU", unit: count, queries: one(sum(over("istio_agent_process_cpu_seconds_total", `namespace=~"$namespace",pod=~"$pod"`), "pod"), "{{pod}}")},
				{title: "Memory", unit: bytes, queries: one(sum(`istio_agent_process_resident_memory_bytes{namespace=~"$namespace",pod=~"$pod"}`, "pod"), "{{pod}}")},
				{title: "Goroutines", unit: count, queries: one(sum(`istio_agent_go_goroutines{namespace=~"$namespace",pod=~"$pod"}`, "pod"), "{{pod}}")},
			}},
		},
	}
}

// controlPlane is the page of the controller's replicas.
func controlPlane() dashboard {
	return dashboard{
		name: "control-plane", title: "Fairlead / Control plane",
		rows: []row{
			{"Now", []panel{
				{title: "Replicas", unit: count, now: true, queries: one("count(pilot_xds)", "")},
				{title: "Sidecars", unit: count, now: true, queries: one("sum(pilot_xds)", "")},
				{title: "Stale", about: "Sidecars that have not confirmed everything sent", unit: count, now: true, queries: one("sum(fairlead_xds_stale_proxies)", "")},
				{title: "Unknown", about: "Sidecars whose pod the control plane does not know", unit: count, now: true, queries: one("sum(fairlead_xds_unknown_proxies)", "")},
				{title: "Rejected objects", about: "Not in force as written; fairlead check lists them", unit: count, now: true, queries: one("max(pilot_total_rejected_configs)", "")},
				{title: "Problems", about: "Everything that is wrong with the configuration", unit: count, now: true, queries: one("max(fairlead_config_problems)", "")},
			}},
			{"From a change to the sidecars", []panel{
				{title: "Time until it is in force", unit: seconds, queries: quantiles("pilot_proxy_convergence_time", "")},
				{title: "Resources sent", unit: rate, queries: one(sum(over("pilot_xds_pushes", ""), "type"), "{{type}}")},
				{title: "Bytes of a message", unit: bytes, queries: quantiles("pilot_xds_config_size_bytes", "")},
				{title: "Refused by sidecars", unit: rate, queries: one(sum(over("pilot_total_xds_rejects", "")), "refused")},
			}},
			{"What changes", []panel{
				{title: "Changes put in force", unit: rate, queries: one(sum(over("pilot_push_triggers", ""), "type"), "{{type}}")},
				{title: "Services, endpoints, pods", unit: rate, queries: one(sum(over("pilot_k8s_reg_events", ""), "type", "event"), "{{type}} {{event}}")},
				{title: "Configuration", unit: rate, queries: one(sum(over("pilot_k8s_cfg_events", ""), "type", "event"), "{{type}} {{event}}")},
			}},
			{"Certificates and pods", []panel{
				{title: "Certificates", unit: rate, queries: []query{
					{sum(over("citadel_server_success_cert_issuance_count", "")), "issued"}, {sum(over("citadel_server_csr_sign_err_count", "")), "failed"},
				}},
				{title: "Tokens refused", unit: rate, queries: one(sum(over("citadel_server_authentication_failure_count", "")), "refused")},
				{title: "Injection", unit: rate, queries: []query{
					{sum(over("sidecar_injection_success_total", "")), "injected"},
					{sum(over("sidecar_injection_skip_total", "")), "left alone"},
					{sum(over("sidecar_injection_failure_total", "")), "refused"},
				}},
				{title: "Admission", unit: rate, queries: []query{{sum(over("galley_validation_passed", "")), "passed"}, {sum(over("galley_validation_failed", "")), "refused"}}},
			}},
			{"Replicas", []panel{
				{title: "CPU", unit: count, queries: one(`rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) pilot_xds`, "{{pod}}")},
				{title: "Memory", unit: bytes, queries: one(`process_resident_memory_bytes and on (instance) pilot_xds`, "{{pod}}")},
				{title: "Goroutines", unit: count, queries: one(`go_goroutines and on (instance) pilot_xds`, "{{pod}}")},
				{title: "Sidecars by replica", unit: count, queries: one(sum("pilot_xds", "pod"), "{{pod}}")},
			}},
		},
	}
}
