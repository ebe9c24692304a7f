// Command load is both ends of a benchmark: generators of load that wrk and h2load do not have, and the servers that
// answer. The same program serves everything that is compared.
//
//	load app -h2 ADDR -tcp ADDR     answers HTTP/2 requests with their body and gRPC trailers; echoes, takes and sends bytes
//	load open -url U -rps N -conns N -d D      requests at intended times, latency counted from those; with -rps 0 a closed loop
//	load newconn -url U -conns N -d D          a connection for each request
//	load newtcp|ping -addr A -conns N -d D     128 bytes and back, on a connection each or on the same
//	load bulk -addr A -conns N -d D            as many bytes as go through, counted by the server
//	load idle -url U -conns N                  a request on each of N connections, which stay open until input ends
//	load handshake -url U -cert FILES -conns N -d D   mutual TLS for each request, with FILES.pem and FILES.key
//	load ready -url U [-- COMMAND…]            how long a command takes until it answers; see ready.go
//	load proxy -side out|in -listen A -to A -dir D    the standard library's reverse proxy, with mutual TLS
//	load keep NAME COMMAND…                    runs a command that is found by NAME
//	load get URL                               prints what is there
//	load time COMMAND…                         runs a command and adds its CPU time as a last line
//
// Every generator prints one JSON object, a Result. It runs on one processor and is not part of any product.
package main
