// Package admin is what a sidecar and the control plane say of themselves over HTTP: the values on their pages, the
// handlers that serve them, and the client that reads them. Handler and client stand beside each other so that a path
// and a field are written once.
//
// In, for the handlers: functions that give the state of the moment ([Sidecar], [Controller]). In, for the client: a way
// to connect to the process ([Dialer]), which may lead through an API server or into a lab. Out: values that encode as
// JSON.
//
// The package knows neither proxy nor control plane, and links nothing but the standard library: the sidecar serves its
// pages with it, and a program that only reads pages links no part of what it reads of. Everything
// may be used from any goroutine where the functions given may.
//
// Pages that name pods, accounts and endpoints are served to local callers only: the sidecar's listen on loopback, and
// [Controller.Handler] looks at the caller's address. Pages of metrics are for every client that reaches the port,
// so those who read them are few at a time and are cut off when they are slow: see [Metrics].
//
// To debug: curl the port inside the pod. An error of the client carries the path; its state is in the page.
package admin
