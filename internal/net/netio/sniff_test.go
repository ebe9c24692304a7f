package netio

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// clientHello gives the first record that crypto/tls sends.
func clientHello(tb testing.TB, config *tls.Config) []byte {
	tb.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, config).HandshakeContext(tb.Context()) // ends with the pipe
	}()
	header := make([]byte, recordHeader)
	if _, err := io.ReadFull(far, header); err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(far, body); err != nil {
		tb.Fatal(err)
	}
	far.Close()
	<-done
	return slices.Concat(header, body)
}

// fragment splits the message of one record over records of n bytes.
func fragment(record []byte, n int) []byte {
	var out []byte
	for part := range slices.Chunk(record[recordHeader:], n) {
		out = append(out, recordHandshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestSniff(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "a.example"})
	long := "GET /" + strings.Repeat("a", 2*SniffLimit)
	for _, tc := range []struct {
		name, in string
		want     Detected
	}{
		{name: "nothing", in: "", want: NeedMore},
		{name: "get", in: "GET / HTTP/1.1\r\n", want: HTTP1},
		{name: "get_with_the_version_cut_off", in: "GET / HTTP", want: NeedMore},
		{name: "method_alone", in: "POST", want: NeedMore},
		{name: "absolute_form", in: "GET http://a/ HTTP/1.0\r\n", want: HTTP1},
		{name: "authority_form", in: "CONNECT a:443 HTTP/1.1\r\n", want: HTTP1},
		{name: "asterisk_form", in: "OPTIONS * HTTP/1.1\r\n", want: HTTP1},
		{name: "custom_method", in: "X-PURGE /x HTTP/1.1\r\n", want: HTTP1},
		{name: "method_of_25_letters", in: strings.Repeat("G", 25) + " / HTTP/1.1\r\n", want: HTTP1},
		{name: "endless_method", in: strings.Repeat("G", SniffLimit), want: HTTP1},
		{name: "raw_utf8_target", in: "GET /\xc3\xa9 HTTP/1.1\r\n", want: HTTP1},
		{name: "raw_utf8_target_with_a_byte_that_is_a_blank_in_latin_1", in: "GET /\xc3\xa0b HTTP/1.1\r\n", want: HTTP1},
		{name: "very_long_target", in: long, want: HTTP1},
		{name: "long_target_not_yet_at_the_limit", in: long[:SniffLimit-1], want: NeedMore},
		{name: "http_0.9", in: "GET /\r\n", want: Opaque},
		{name: "two_spaces", in: "GET  / HTTP/1.1\r\n", want: HTTP1},
		{name: "tabs", in: "GET\t/\tHTTP/1.1\r\n", want: HTTP1},
		{name: "blanks_of_latin_1", in: "GET\xa0/\xa0HTTP/1.1\r\n", want: HTTP1},
		{name: "blank_in_front", in: " GET / HTTP/1.1\r\n", want: HTTP1},
		{name: "lower_case_version", in: "GET / http/1.1\r\n", want: HTTP1},
		{name: "control_character_in_the_target", in: "GET /\x01 HTTP/1.1\r\n", want: HTTP1},
		{name: "http_2_in_a_request_line", in: "GET / HTTP/2.0\r\n", want: HTTP1},
		{name: "leading_newline", in: "\r\nGET / HTTP/1.1\r\n", want: HTTP1},
		{name: "leading_newlines_only", in: "\r\n\n", want: NeedMore},
		{name: "endless_newlines", in: strings.Repeat("\r\n", SniffLimit), want: HTTP1},
		{name: "preface", in: http2Preface, want: HTTP2},
		{name: "preface_cut_off", in: http2Preface[:20], want: NeedMore},
		{name: "method_that_begins_like_the_preface", in: "PRI /x HTTP/1.1\r\n", want: HTTP1},
		{name: "preface_of_a_future_version", in: "PRI * HTTP/3.0\r\n\r\n", want: HTTP1},
		{name: "tls", in: string(hello), want: TLS},
		{name: "tls_six_bytes", in: string(hello[:6]), want: TLS},
		{name: "tls_five_bytes", in: string(hello[:5]), want: NeedMore},
		{name: "tls_server_hello", in: "\x16\x03\x03\x00\x40\x02", want: Opaque},
		{name: "tls_record_too_long", in: "\x16\x03\x03\xff\xff\x01", want: Opaque},
		{name: "not_tls_after_all", in: "\x16\x02", want: Opaque},
		{name: "tls_alert", in: "\x15\x03\x03\x00\x02", want: Opaque},
		{name: "redis_resp", in: "*1\r\n$4\r\nPING\r\n", want: Opaque},
		{name: "redis_inline", in: "PING\r\n", want: Opaque},
		{name: "redis_inline_get", in: "GET key\r\n", want: Opaque},
		{name: "memcached", in: "set a 0 0 1\r\n", want: Opaque},
		{name: "smtp", in: "EHLO a.example\r\n", want: Opaque},
		{name: "ssh", in: "SSH-2.0-OpenSSH_9.2\r\n", want: Opaque},
		{name: "stomp", in: "CONNECT\naccept-version:1.2\n", want: Opaque},
		{name: "rtsp", in: "OPTIONS rtsp://a/b RTSP/1.0\r\n", want: Opaque},
		{name: "access_log_line", in: `10.0.0.1 - - [28/Nov/2026] "GET / HTTP/1.1" 200`, want: Opaque},
		{name: "ldap_of_32_bytes", in: "0 \x02\x01\x01`\x1b\x02\x01\x03\x04\x11cn=a,dc=example,dc", want: Opaque},
		{name: "mqtt", in: "\x10'\x00\x04MQTT", want: Opaque},
		{name: "amqp", in: "AMQP\x00\x00\x09\x01", want: Opaque},
		{name: "postgres", in: "\x00\x00\x00\x08\x04\xd2\x16\x2f", want: Opaque},
		{name: "mongodb", in: "\x3a\x00\x00\x00\x01\x00\x00\x00", want: Opaque},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Unclaimed.Sniff([]byte(tc.in)); got != tc.want {
				t.Errorf("Sniff(%q) = %v, want %v", tc.in, got, tc.want)
			}
		})
	}
}

func TestSniffOfPortsWithRules(t *testing.T) {
	for _, tc := range []struct {
		name, in         string
		routed, declared Detected
	}{
		{name: "http_0.9", in: "GET /admin\r\n", routed: HTTP1, declared: HTTP1},
		{name: "http_0.9_without_an_end", in: "GET /admin", routed: HTTP1, declared: HTTP1},
		{name: "a_word", in: "PING\r\n", routed: Opaque, declared: HTTP1},
		{name: "redis_resp", in: "*1\r\n$4\r\nPING\r\n", routed: Opaque, declared: HTTP1},
		{name: "tls", in: "\x16\x03\x01\x00\x05\x01", routed: TLS, declared: HTTP1},
		{name: "binary", in: "\x00", routed: Opaque, declared: HTTP1},
		{name: "preface", in: http2Preface, routed: HTTP2, declared: HTTP2},
		{name: "preface_cut_off", in: http2Preface[:3], routed: NeedMore, declared: NeedMore},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Routed.Sniff([]byte(tc.in)); got != tc.routed {
				t.Errorf("routed: Sniff(%q) = %v, want %v", tc.in, got, tc.routed)
			}
			if got := Declared.Sniff([]byte(tc.in)); got != tc.declared {
				t.Errorf("declared: Sniff(%q) = %v, want %v", tc.in, got, tc.declared)
			}
		})
	}
}

func TestSpeaksHTTP(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Detected
	}{
		{name: "settings", in: "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03", want: HTTP2},
		{name: "settings_cut_off", in: "\x00\x00\x06\x04", want: NeedMore},
		{name: "settings_acknowledged", in: "\x00\x00\x00\x04\x01\x00\x00\x00\x00", want: Opaque},
		{name: "too_late", in: "HTTP/1.1 408 Request Timeout\r\n", want: HTTP1},
		{name: "version_cut_off", in: "HTT", want: NeedMore},
		{name: "smtp", in: "220 ready\r\n", want: Opaque},
		{name: "mysql", in: "\x4a\x00\x00\x00\x0a8.0.36\x00", want: Opaque},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := SpeaksHTTP([]byte(tc.in)); got != tc.want {
				t.Errorf("SpeaksHTTP(%q) = %v, want %v", tc.in, got, tc.want)
			}
		})
	}
}

// FuzzSniff holds what is detected to what servers read: net/http, and one that splits a line at blanks as Python's does.
func FuzzSniff(f *testing.F) {
	for _, s := range []string{
		"", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", http2Preface, "\x16\x03\x01\x00\x05\x01", "set a 0 0 1\r\n", "PRI * HTTP/1.1",
		"\r\nGET / HTTP/1.1\r\n", "GET\t /  hTTP/1.0\n", "0\xa0\xa0*\x85HTTP/1.1\r\n", " GET /\x01\xa0b HTTP/1.1\n",
	} {
		f.Add([]byte(s))
	}
	f.Add(clientHello(f, &tls.Config{ServerName: "a"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, claim := range []Claim{Unclaimed, Routed, Declared} {
			found := NeedMore
			for n := range min(len(b), SniffLimit+2) + 1 {
				got := claim.Sniff(b[:n])
				if found != NeedMore && got != found {
					t.Fatalf("%v at %d bytes, %v before", got, n, found)
				}
				if found = got; got == NeedMore && n >= SniffLimit {
					t.Fatalf("undecided at %d bytes", n)
				}
			}
			if claim.Sniff(b) != found {
				t.Fatalf("%v for all bytes, %v before", claim.Sniff(b), found)
			}
			if claim == Declared && found != HTTP1 && found != HTTP2 && found != NeedMore {
				t.Fatalf("%v on a declared port", found)
			}
			if found == Opaque && readsAsRequest(b) {
				t.Fatalf("%q would be relayed to servers that read it as a request", b)
			}
		}
	})
}

// readsAsRequest reports whether a server reads b as a request that can have fields.
func readsAsRequest(b []byte) bool {
	if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil {
		return true
	}
	line, _, whole := bytes.Cut(bytes.TrimLeftFunc(b, func(r rune) bool { return r < 0x80 && isBlank(byte(r)) || r == '\n' }), []byte{'\n'})
	latin1 := make([]rune, len(line))
	for i, c := range line {
		latin1[i] = rune(c)
	}
	words := strings.FieldsFunc(string(latin1), func(r rune) bool { return isBlank(byte(r)) })
	return whole && len(words) == 3 && !strings.ContainsFunc(words[0], func(r rune) bool { return !isToken(byte(r)) }) && isLetter(words[0][0]) &&
		!strings.Contains(words[1], "\x00") && len(words[2]) > 5 && strings.EqualFold(words[2][:5], "HTTP/")
}

func TestParseClientHello(t *testing.T) {
	whole := clientHello(t, &tls.Config{ServerName: "a.example", NextProtos: []string{"fairlead/h2", "h2"}})
	plain := clientHello(t, &tls.Config{InsecureSkipVerify: true})
	both := []string{"fairlead/h2", "h2"}
	for _, tc := range []struct {
		name   string
		in     []byte
		server string
		offers []string
	}{
		{name: "one_record", in: whole, server: "a.example", offers: both},
		{name: "followed_by_more", in: append(slices.Clone(whole), "early data"...), server: "a.example", offers: both},
		{name: "records_of_100_bytes", in: fragment(whole, 100), server: "a.example", offers: both},
		{name: "records_of_one_byte", in: fragment(whole, 1), server: "a.example", offers: both},
		{name: "no_name", in: plain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := ParseClientHello(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if string(h.ServerName) != tc.server {
				t.Errorf("server name %q, want %q", h.ServerName, tc.server)
			}
			var offers []string
			h.OffersAny(func(protocol []byte) bool {
				offers = append(offers, string(protocol))
				return false
			})
			if !slices.Equal(offers, tc.offers) || h.OffersAny(isH2) != slices.Contains(tc.offers, "h2") {
				t.Errorf("offers %q, want %q", offers, tc.offers)
			}
			// Everything shorter is short, not wrong.
			if tc.name != "followed_by_more" {
				for n := range tc.in {
					if _, err := ParseClientHello(tc.in[:n]); !errors.Is(err, ErrShortHello) {
						t.Fatalf("first %d bytes: %v, want %v", n, err, ErrShortHello)
					}
				}
			}
		})
	}
}

func TestParseClientHelloRefuses(t *testing.T) {
	whole := clientHello(t, &tls.Config{ServerName: "a.example"})
	cut := slices.Clone(whole)
	cut[recordHeader+3] -= 9 // the message says it is shorter than its vectors
	for _, tc := range []struct {
		name string
		in   []byte
	}{
		{name: "http", in: []byte("GET / HTTP/1.1\r\n\r\n")},
		{name: "server_hello", in: []byte("\x16\x03\x03\x00\x04\x02\x00\x00\x00")},
		{name: "empty_record", in: []byte("\x16\x03\x01\x00\x00")},
		{name: "huge_message", in: []byte("\x16\x03\x01\x00\x04\x01\xff\xff\xff")},
		{name: "vectors_beyond_the_message", in: cut},
		{name: "alert_after_half_a_hello", in: append(fragment(whole, 50)[:55], "\x15\x03\x03\x00\x02\x01\x00"...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if h, err := ParseClientHello(tc.in); !errors.Is(err, ErrBadHello) {
				t.Errorf("ParseClientHello = %+v, %v, want %v", h, err, ErrBadHello)
			}
		})
	}
}

func isH2(protocol []byte) bool { return string(protocol) == "h2" }

func FuzzParseClientHello(f *testing.F) {
	whole := clientHello(f, &tls.Config{ServerName: "a.example", NextProtos: []string{"h2"}})
	f.Add(whole)
	f.Add(fragment(whole, 30))
	f.Add([]byte("\x16\x03\x01\x00\x04\x01\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseClientHello(b)
		if err != nil {
			if !errors.Is(err, ErrShortHello) && !errors.Is(err, ErrBadHello) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := ParseClientHello(append(slices.Clone(b), 0))
		if err != nil || !bytes.Equal(again.ServerName, h.ServerName) || again.OffersAny(isH2) != h.OffersAny(isH2) {
			t.Fatalf("with one more byte: %+v, %v, want %+v", again, err, h)
		}
	})
}

func TestSniffAndParseDoNotAllocate(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "a.example", NextProtos: []string{"fairlead/h2", "h2"}})
	request := []byte("GET /api/user/123 HTTP/1.1\r\nHost: users\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() {
		h, err := ParseClientHello(hello)
		if err != nil || len(h.ServerName) == 0 || !h.OffersAny(isH2) || Unclaimed.Sniff(hello) != TLS || Unclaimed.Sniff(request) != HTTP1 {
			t.Error("not recognised")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// String names what was detected.
func (v Detected) String() string {
	switch v {
	case NeedMore:
		return "need more"
	case HTTP1:
		return "HTTP/1"
	case HTTP2:
		return "HTTP/2"
	case TLS:
		return "TLS"
	case Opaque:
		return "opaque"
	}
	return "unset"
}
