// Package agent brings a gRPC app that is its own xDS client what it needs of the mesh, without carrying its calls: a unix
// socket behind which the control plane is, the workload's certificate in files, and the bootstrap that names both.
//
// In: where the control plane is, the workload's identity, and places for files. Out: connections to the socket, passed on
// byte for byte over TLS with the workload's certificate, so that the control plane knows who the app is; key.pem,
// cert-chain.pem and root-cert.pem, replaced together at each rotation; the bootstrap. Names and places are those of
// Istio's agent, so that apps which are set up for it find them.
//
// The bootstrap and the socket are there once there is a certificate. While the control plane is away the socket is there,
// and each connection to it is closed at once: the app's library goes on with what it has, and tries again by itself. A
// connection ends when either side ends it. The agent looks into nothing that it passes on, and caches nothing.
//
// An Agent is for one Run; Keep is called from one goroutine.
//
// To debug: the app's GRPC_GO_LOG_SEVERITY_LEVEL=info or GRPC_TRACE=xds_client, and the control plane's proxy-status.
package agent
