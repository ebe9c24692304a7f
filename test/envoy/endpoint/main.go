// Command endpoint is an app that answers as the request tells it to.
//
// It serves HTTP/1.1 and HTTP/2 without TLS on the port that its argument names. The header x-answers of a request is
// "ADDRESS=ANSWER": the server with that address, of "*" each, gives the answer and says so by x-answered, all others answer 200. Each
// names its own address in x-address, and repeats each header that it got, in front of its name "heard-"; what x-says holds, as
// "name: value", is added to the answer's. Answers are a status; "reset", the connection ends before anything is said; "cut", it ends in the middle of the answer; "late", nothing is said
// until the client leaves; "grpc=N" and "trailers=N", gRPC's status N in the head, or behind a body.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: endpoint PORT")
		os.Exit(2)
	}
	s := &http.Server{Addr: ":" + os.Args[1], Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	fmt.Fprintln(os.Stderr, s.ListenAndServe())
	os.Exit(1)
}

func answer(w http.ResponseWriter, r *http.Request) {
	grpc := strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
	if grpc {
		w.Header().Set("Content-Type", "application/grpc")
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	host, _, _ := net.SplitHostPort(local.String())
	who, what, _ := strings.Cut(r.Header.Get("X-Answers"), "=")
	mine := who == host || who == "*"
	if !mine {
		what = "200"
		if grpc {
			what = "grpc=0"
		}
	}
	for name, values := range r.Header {
		w.Header()["Heard-"+name] = values
	}
	w.Header().Set("Heard-Path", r.RequestURI)
	for _, said := range r.Header.Values("X-Says") {
		name, value, _ := strings.Cut(said, ": ")
		w.Header().Add(name, value)
	}
	w.Header().Set("X-Answered", strconv.FormatBool(mine))
	w.Header().Set("X-Address", host)
	kind, value, _ := strings.Cut(what, "=")
	switch kind {
	case "reset":
		end(w)
	case "cut":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "the beginning of ")
		_ = http.NewResponseController(w).Flush() // an error is as good as the end that is meant
		end(w)
	case "late":
		<-r.Context().Done()
	case "grpc":
		w.Header().Set("Grpc-Status", value)
	case "trailers":
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprint(w, "\x00\x00\x00\x00\x00")
		w.Header().Set("Grpc-Status", value)
	default:
		if code, err := strconv.Atoi(what); err == nil {
			w.WriteHeader(code)
		}
	}
}

// end breaks the connection of HTTP/1.1, or the stream of HTTP/2.
func end(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without a reset it would be an end, which is no worse
	}
	c.Close()
}
