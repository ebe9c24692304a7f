// Package view makes tables of what the control plane knows of the traffic: who calls whom, how often, how fast, by which
// route. The columns, cells, JSON keys and orders are those of "linkerd viz".
//
// In: one [traffic.Answer], already put together of all replicas, and what the user asks for. Out: rows, as values for JSON and
// as text. Pure functions, safe from any goroutine.
package view
