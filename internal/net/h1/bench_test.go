package h1

import (
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func BenchmarkParseRequest(b *testing.B) {
	const block = "GET /api/user/123 HTTP/1.1\r\n" + typicalFields + "\r\n"
	var r httpx.Request
	var h head
	o := Options{}
	o.setDefaults()
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		r.Fields.AppendBlock([]byte(block))
		if err := parseRequest(&r, &h, o.limits(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, bm := range []struct {
		name, in string
		length   int64
	}{{"body=length", lengthRequest, 1024}, {"body=chunked", chunkedRequest, -1}} {
		b.Run("server/"+bm.name, func(b *testing.B) {
			l := newLoop(bm.in, bm.length)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.serveOne(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, bm := range []struct {
		name, in string
		length   int64
	}{{"body=length", lengthResponse, 1024}, {"body=chunked", chunkedResponse, -1}} {
		b.Run("client/"+bm.name, func(b *testing.B) {
			l := newLoop(bm.in, bm.length)
			var got httpx.Response
			b.ReportAllocs()
			for b.Loop() {
				if err := l.sendOne(&got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
