package h2

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestExchange(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 300<<10/16)
	for _, tt := range []struct {
		name     string
		request  *httpx.Request
		body     string
		trailers bool
		want     message
	}{
		{
			name:    "get",
			request: request("GET", "/a?b=c", "Accept", "*/*", "X-Empty", ""),
			want: message{Head: "200 ", Fields: []string{
				"x-line: GET http users.test:8080 /a?b=c", "x-echo-accept: */*", "x-echo-x-empty: ",
			}},
		},
		{
			name:    "connection_fields_do_not_travel",
			request: request("GET", "/", "Connection", "close", "Keep-Alive", "1", "TE", "gzip", "Te", "trailers", "Upgrade", "h2c"),
			want: message{Head: "200 ", Fields: []string{
				"x-line: GET http users.test:8080 /", "x-echo-te: trailers",
			}},
		},
		{
			name: "body_and_trailers", request: request("POST", "/"), body: "hello", trailers: true,
			want: message{
				Head: "200 ", Fields: []string{"x-line: POST http users.test:8080 /"}, Body: "hello",
				Trailers: []string{"grpc-status: 0"},
			},
		},
		{
			name: "body_beyond_one_buffer", request: request("PUT", "/big"), body: big,
			want: message{Head: "200 ", Fields: []string{"x-line: PUT http users.test:8080 /big"}, Body: big},
		},
		{
			name:    "head_beyond_one_frame",
			request: request("GET", "/", "x-long", strings.Repeat("v", 40000)),
			want: message{Head: "200 ", Fields: []string{
				"x-line: GET http users.test:8080 /", "x-echo-x-long: " + strings.Repeat("v", 40000),
			}},
		},
	} {
		for _, mode := range []string{"plain", "tls"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				p := newPair(t, echo, setup{tls: mode == "tls"})
				for range 3 { // the second and third use the dynamic tables
					tt.request.ContentLength = -1
					var trailers *httpx.Fields
					if tt.trailers {
						trailers = new(httpx.Fields)
						trailers.AddString("Grpc-Status", "0")
					}
					got, err := p.exchangeDuplex(tt.request, tt.body, trailers)
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(tt.want, got); d != "" {
						t.Fatalf("exchange (-want +got):\n%s", d)
					}
				}
			})
		}
	}
}

func TestInterimHeadsComeOneByOne(t *testing.T) {
	p := newPair(t, func(s *ServerStream) {
		if !s.Request().ExpectContinue {
			t.Error("ExpectContinue = false, want true")
		}
		s.Respond(&httpx.Response{Status: 100})
		hint := &httpx.Response{Status: 103}
		hint.Fields.AddString("link", "</style.css>")
		s.Respond(hint)
		s.Respond(&httpx.Response{Status: 204})
		s.End(nil)
	}, setup{})
	r := request("POST", "/")
	r.ContentLength, r.ExpectContinue = 1, true
	got, err := p.exchange(r, "x", nil)
	if err != nil || got.Head != "100 103 204 " {
		t.Fatalf("heads = %q, %v, want 100 103 204", got.Head, err)
	}
}

func TestBodylessResponses(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		status       int
		length, want int64
	}{
		{"head_keeps_the_length", "HEAD", 200, 1234, 1234},
		{"not_modified_keeps_the_length", "GET", 304, 99, 99},
		{"no_content", "GET", 204, 0, 0},
		{"empty", "GET", 200, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, func(s *ServerStream) {
				s.Respond(&httpx.Response{Status: tt.status, ContentLength: tt.length})
				if tt.method == "HEAD" {
					io.WriteString(s, "dropped")
				}
				s.End(nil)
			}, setup{})
			s, err := p.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.Send(request(tt.method, "/"))
			s.End(nil)
			var res httpx.Response
			if err := s.Receive(&res); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(s)
			if res.Status != tt.status || res.ContentLength != tt.want || len(b) != 0 || err != nil {
				t.Errorf("response = %d, length %d, body %q, %v; want %d, %d", res.Status, res.ContentLength, b, err, tt.status, tt.want)
			}
		})
	}
}

func TestTunnels(t *testing.T) {
	for _, tt := range []struct {
		name         string
		upgrade      string
		respond      int
		wantStatus   int
		wantProtocol string
	}{
		{"connect", "", 200, 200, ""},
		{"websocket_over_extended_connect", "websocket", 101, 101, "websocket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, func(s *ServerStream) {
				r := s.Request()
				if string(r.Upgrade) != tt.upgrade {
					t.Errorf("Upgrade = %q, want %q", r.Upgrade, tt.upgrade)
				}
				s.Respond(&httpx.Response{Status: tt.respond, Upgrade: r.Upgrade, ContentLength: -1})
				s.Flush()
				buf := make([]byte, 4)
				for {
					n, err := s.Read(buf)
					if err != nil {
						break
					}
					s.Write(buf[:n])
					s.Flush()
				}
				io.WriteString(s, "bye") // after the client's half is closed
				s.End(nil)
			}, setup{})
			s, err := p.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := request("CONNECT", "")
			if tt.upgrade != "" {
				r = request("GET", "/chat", "Sec-WebSocket-Key", "x")
				r.Upgrade = []byte(tt.upgrade)
			}
			if err := s.Send(r); err != nil {
				t.Fatal(err)
			}
			s.Flush()
			var res httpx.Response
			if err := s.Receive(&res); err != nil {
				t.Fatal(err)
			}
			if res.Status != tt.wantStatus || string(res.Upgrade) != tt.wantProtocol || res.ContentLength != -1 {
				t.Fatalf("response = %d %q %d, want %d %q -1", res.Status, res.Upgrade, res.ContentLength, tt.wantStatus, tt.wantProtocol)
			}
			buf := make([]byte, 4)
			for range 3 {
				io.WriteString(s, "ping")
				s.Flush()
				if _, err := io.ReadFull(s, buf); err != nil || string(buf) != "ping" {
					t.Fatalf("Read = %q, %v, want ping", buf, err)
				}
			}
			s.End(nil)
			if rest, err := io.ReadAll(s); string(rest) != "bye" || err != nil {
				t.Fatalf("rest = %q, %v, want bye", rest, err)
			}
		})
	}
}

func TestUpgradeIgnored(t *testing.T) {
	handler := func(s *ServerStream) {
		err := s.Respond(&httpx.Response{Status: 200, ContentLength: 5})
		if err != nil {
			s.Respond(&httpx.Response{Status: 502})
		} else {
			io.WriteString(s, "plain")
		}
		s.End(nil)
	}
	for _, tt := range []struct {
		name     string
		metadata string
		want     message
	}{
		{"by_a_mesh_peer_it_is_a_plain_response", "m", message{Head: "200 ", Body: "plain"}},
		{"to_another_peer_it_cannot_be_said", "", message{Head: "502 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, handler, setup{client: Options{Metadata: []byte(tt.metadata)}})
			r := request("GET", "/")
			r.Upgrade = []byte("websocket")
			got, err := p.exchange(r, "", nil)
			if d := cmp.Diff(tt.want, got); d != "" || err != nil {
				t.Fatalf("exchange = %v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	p := newPair(t, func(s *ServerStream) {
		res := &httpx.Response{Status: 200}
		res.Fields.Add([]byte("meta"), s.PeerMetadata())
		s.Respond(res)
		s.End(nil)
	}, setup{client: Options{Metadata: []byte("who-i-am")}, server: Options{Metadata: []byte("who-you-reached")}})
	got, err := p.exchange(request("GET", "/"), "", nil)
	if err != nil || len(got.Fields) != 1 || got.Fields[0] != "meta: who-i-am" {
		t.Fatalf("server saw %v, %v, want meta: who-i-am", got.Fields, err)
	}
	if m := string(p.client.PeerMetadata()); m != "who-you-reached" {
		t.Fatalf("client saw %q, want who-you-reached", m)
	}
}

// What has come whole was not cut, whatever happens to the exchange afterwards: a deadline that passes between an answer's arrival and
// its being read must not make a broken answer of it.
func TestAbortLeavesAWholeResponseWhole(t *testing.T) {
	for _, tt := range []struct {
		name, body      string
		open, read, cut bool // the response is not at its end; its head was taken; the abort is seen
	}{
		{name: "head_waits"},
		{name: "head_was_taken", read: true},
		{name: "body_waits", body: "hello", read: true, cut: true},
		{name: "more_was_to_come", open: true, read: true, cut: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			p := newPair(t, func(s *ServerStream) {
				io.Copy(io.Discard, s) // an answer before the request's end would be followed by a reset
				s.Respond(&httpx.Response{Status: 200, ContentLength: -1})
				io.WriteString(s, tt.body)
				if tt.open {
					s.Flush()
					<-release
				}
				s.End(nil)
			}, setup{})
			defer close(release)
			s, err := p.client.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var res httpx.Response
			if err := errors.Join(s.Send(request("GET", "/")), s.End(nil)); err != nil {
				t.Fatal(err)
			}
			if tt.read {
				if err := s.Receive(&res); err != nil {
					t.Fatal(err)
				}
			}
			s.c.mu.Lock()
			for !s.recvEnd && !tt.open {
				s.canRead.Wait()
			}
			s.c.mu.Unlock()
			s.Abort(errChangedMind)
			if !tt.read {
				if err := s.Receive(&res); err != nil || res.Status != 200 {
					t.Errorf("Receive after Abort: %d, %v", res.Status, err)
				}
			}
			body, err := io.ReadAll(s)
			if tt.cut != errors.Is(err, errChangedMind) || !tt.cut && err != nil || len(body) > 0 {
				t.Errorf("reading after Abort gives %q, %v", body, err)
			}
		})
	}
}
