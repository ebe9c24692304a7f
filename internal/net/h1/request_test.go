package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen is a request as a handler saw it.
type seen struct {
	Line      string // method, authority, path, version
	Fields    []string
	Length    int64
	Body      string
	Trailers  []string
	Upgrade   string
	Expect    bool
	Scheme    string
	KeepAlive bool
}

func see(x *Exchange) (seen, error) {
	r := x.Request()
	got := seen{
		Line:   fmt.Sprintf("%s %s %s %s", r.Method, r.Authority, r.Path, r.Version),
		Fields: fieldLines(&r.Fields), Length: r.ContentLength, Upgrade: string(r.Upgrade),
		Expect: r.ExpectContinue, Scheme: string(r.Scheme), KeepAlive: x.persist,
	}
	body, err := io.ReadAll(x)
	got.Body = string(body)
	if t := x.Trailers(); t != nil {
		got.Trailers = fieldLines(t)
	}
	return got, err
}

func TestServerReads(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	plain := seen{Line: "GET a / HTTP/1.1", Scheme: "http", KeepAlive: true}
	with := func(change func(*seen)) seen {
		s := plain
		change(&s)
		return s
	}
	tests := []struct {
		name, in string
		want     seen
	}{
		{"the_least", get + "\r\n", plain},
		{"empty_lines_before_it", "\r\n\r\n" + get + "\r\n", plain},
		{"fields_in_order_with_case_and_blanks_trimmed", get + "X-a:  b \t\r\nx-A:c\r\nEmpty:\r\n\r\n", with(func(s *seen) {
			s.Fields = []string{"X-a: b", "x-A: c", "Empty: "}
		})},
		{"bytes_above_ascii", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\nx: \xff\r\n\r\n", with(func(s *seen) {
			s.Line, s.Fields = "GET a /\xc3\xa9 HTTP/1.1", []string{"x: \xff"}
		})},
		{"hop_by_hop_fields_are_gone", get + "Connection: x-one, keep-alive,\tX-Two ,\r\nX-One: 1\r\nx-two: 2\r\nkeep-alive: 5\r\n" +
			"Proxy-Connection: close\r\nX-Three: 3\r\nTE: gzip\r\nUpgrade: websocket\r\n\r\n", with(func(s *seen) {
			s.Fields = []string{"X-Three: 3"}
		})},
		{"te_trailers_stays", get + "TE: trailers\r\nConnection: te\r\n\r\n", with(func(s *seen) { s.Fields = []string{"TE: trailers"} })},
		{
			"framing_cannot_be_removed_by_connection", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: content-length, host\r\n\r\nhi",
			with(func(s *seen) { s.Line, s.Length, s.Body = "POST a / HTTP/1.1", 2, "hi" }),
		},
		{
			"same_length_twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
			with(func(s *seen) { s.Line, s.Length, s.Body = "POST a / HTTP/1.1", 2, "hi" }),
		},
		{
			"chunked_with_extensions_and_trailers", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n" +
				"2;a=b;c=\"d e\"\r\nhi\r\n0003  \r\n yo\r\n00;x\r\nX-Sum: 1\r\nContent-Length: 9\r\nY:\r\n\r\n",
			with(func(s *seen) {
				s.Line, s.Length, s.Body, s.Trailers = "POST a / HTTP/1.1", -1, "hi yo", []string{"X-Sum: 1", "Y: "}
			}),
		},
		{"close", get + "Connection: keep-alive\r\nConnection: Close\r\n\r\n", with(func(s *seen) { s.KeepAlive = false })},
		{"http10", "GET / HTTP/1.0\r\n\r\n", with(func(s *seen) { s.Line, s.KeepAlive = "GET  / HTTP/1.0", false })},
		{"http10_kept_alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", with(func(s *seen) { s.Line = "GET  / HTTP/1.0" })},
		{"http10_ignores_expect_and_upgrade", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: upgrade\r\nUpgrade: x\r\n" +
			"Content-Length: 1\r\n\r\nx", with(func(s *seen) {
			s.Line, s.KeepAlive, s.Length, s.Body = "POST  / HTTP/1.0", false, 1, "x"
		})},
		{"absolute_form_outranks_host", "GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "GET b:80 /x?y HTTP/1.1" })},
		{"absolute_form_without_path", "GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "GET b / HTTP/1.1" })},
		{"absolute_form_with_only_a_query", "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "GET b /?q HTTP/1.1" })},
		{"asterisk_form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "OPTIONS a * HTTP/1.1" })},
		{"asterisk_in_absolute_form", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "OPTIONS b * HTTP/1.1" })},
		{"authority_form", "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", with(func(s *seen) { s.Line = "CONNECT b:443  HTTP/1.1" })},
		{"empty_host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", with(func(s *seen) { s.Line = "GET  / HTTP/1.1" })},
		{"ipv6_host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", with(func(s *seen) { s.Line = "GET [::1]:80 / HTTP/1.1" })},
		{"websocket", get + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n", with(func(s *seen) {
			s.Upgrade, s.Fields = "websocket", []string{"Sec-WebSocket-Key: k"}
		})},
		{"h2c_is_not_offered_further", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAA\r\n\r\n", plain},
		{"expect", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi", with(func(s *seen) {
			s.Line, s.Expect, s.Length, s.Body = "PUT a / HTTP/1.1", true, 2, "hi"
		})},
		{"expect_without_body", get + "Expect: 100-continue\r\n\r\n", plain},
		{"another_expectation", get + "Expect: x\r\n\r\n", with(func(s *seen) { s.Fields = []string{"Expect: x"} })},
	}
	for _, tt := range tests {
		for _, step := range []int{0, 1, 7} {
			t.Run(fmt.Sprintf("%s/step=%d", tt.name, step), func(t *testing.T) {
				s := NewServer(&scriptConn{in: []byte(tt.in), step: step}, Options{})
				defer s.Close()
				x, err := s.Next()
				if err != nil {
					t.Fatalf("Next: %v", err)
				}
				got, err := see(x)
				if err != nil {
					t.Fatalf("body: %v", err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("request (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestServerRefuses holds the request smuggling vectors known from the literature, and every limit.
func TestServerRefuses(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	const post = "POST / HTTP/1.1\r\nHost: a\r\n"
	tests := []struct {
		name, in string
		status   int
	}{
		// CL.TE, TE.CL, TE.TE
		{"length_and_chunked", post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400},
		{"chunked_and_length", post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nG\r\n0\r\n\r\n", 400},
		{"chunked_twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"chunked_and_identity", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
		{"identity", post + "Transfer-Encoding: identity\r\n\r\n", 501},
		{"chunked_in_a_list", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501},
		{"gzip_chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n", 501},
		{"quoted_chunked", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 501},
		{"chunked_with_parameter", post + "Transfer-Encoding: chunked;a=b\r\n\r\n", 501},
		{"empty_coding", post + "Transfer-Encoding:\r\n\r\n", 501},
		{"chunked_after_vertical_tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n", 400},
		{"chunked_with_nul", post + "Transfer-Encoding: chunked\x00\r\n\r\n", 400},
		{"coding_name_with_blank", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
		{"coding_name_with_tab", post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
		{"coding_folded", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 501},
		{"chunked_in_http10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		// CL.CL and lengths
		{"two_lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		{"same_length_spelled_differently", post + "Content-Length: 1\r\nContent-Length: 01\r\n\r\na", 400},
		{"length_list", post + "Content-Length: 1, 1\r\n\r\na", 400},
		{"length_plus", post + "Content-Length: +1\r\n\r\na", 400},
		{"length_negative", post + "Content-Length: -1\r\n\r\na", 400},
		{"length_hex", post + "Content-Length: 0x1\r\n\r\na", 400},
		{"length_blank_inside", post + "Content-Length: 1 1\r\n\r\na", 400},
		{"length_empty", post + "Content-Length:\r\n\r\n", 400},
		{"length_too_large", post + "Content-Length: 9223372036854775808\r\n\r\n", 400},
		{"length_far_too_large", post + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
		{"length_name_with_blank", post + "Content-Length : 1\r\n\r\na", 400},
		{"length_underscore_is_another_field_but_nul_is_not", post + "Content-Length\x00: 1\r\n\r\na", 400},
		// lines
		{"bare_lf_request_line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"bare_lf_field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400},
		{"bare_lf_end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		{"bare_lf_only", "GET / HTTP/1.0\n\n", 400},
		{"bare_lf_first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare_cr_in_value", get + "X: a\rContent-Length: 1\r\n\r\n", 400},
		{"bare_cr_in_name", get + "X\r: a\r\n\r\n", 400},
		{"cr_cr_lf", get + "X: a\r\r\n\r\n", 400},
		{"nul_in_value", get + "X: a\x00b\r\n\r\n", 400},
		{"delete_in_value", get + "X: some longer value \x7f\r\n\r\n", 400},
		{"folded", get + "X: a\r\n b\r\n\r\n", 400},
		{"folded_first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		{"folded_with_tab", get + "X: a\r\n\tb\r\n\r\n", 400},
		{"blank_before_colon", get + "X : a\r\n\r\n", 400},
		{"no_colon", get + "X\r\n\r\n", 400},
		{"empty_name", get + ": a\r\n\r\n", 400},
		{"name_with_blank", get + "X Y: a\r\n\r\n", 400},
		{"name_above_ascii", get + "X\xe9: a\r\n\r\n", 400},
		{"name_with_parenthesis", get + "X(): a\r\n\r\n", 400},
		// request line
		{"two_spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"trailing_space", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		{"leading_space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"blank_in_target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no_version", "GET /\r\nHost: a\r\n\r\n", 400},
		{"lower_case_version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		{"version_1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		{"version_01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400},
		{"http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"method_with_colon", "G:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"fragment", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no_path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk_get", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"ftp", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"absolute_form_without_host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"connect_without_port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"connect_with_large_port", "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"connect_with_path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"connect_with_body", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 400},
		// hosts
		{"no_host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two_hosts", get + "Host: b\r\n\r\n", 400},
		{"two_equal_hosts", get + "host: a\r\n\r\n", 400},
		{"two_hosts_http10", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"host_with_path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		{"host_with_userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
		{"host_with_blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		// limits
		{"too_many_fields", get + strings.Repeat("X: y\r\n", 100) + "\r\n", 431},
		{"head_too_large", get + "X: " + strings.Repeat("y", 60<<10) + "\r\n\r\n", 431},
		{"a_megabyte_of_fields", get + strings.Repeat("X-Some-Name: and a value\r\n", 40000) + "\r\n", 431},
		{"request_line_too_large", "GET /" + strings.Repeat("y", 61<<10), 414},
		{"target_too_large", "GET /" + strings.Repeat("y", 33<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"many_connection_fields", get + strings.Repeat("Connection: a\r\n", 5) + "\r\n", 400},
		{"many_connection_options", get + "Connection: " + strings.Repeat("a,", 40) + "\r\n\r\n", 400},
	}
	for _, tt := range tests {
		for _, step := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/step=%d", tt.name, step), func(t *testing.T) {
				s := NewServer(&scriptConn{in: []byte(tt.in), step: step}, Options{})
				defer s.Close()
				_, err := s.Next()
				var refused *Error
				if !errors.As(err, &refused) || refused.Status != tt.status {
					t.Fatalf("Next = %v, want an Error with status %d", err, tt.status)
				}
				if bytes.ContainsAny([]byte(refused.Error()), "\r\n\x00") || len(refused.Error()) > 300 {
					t.Errorf("error text is not one short line: %q", refused.Error())
				}
				if _, again := s.Next(); !errors.Is(again, err) {
					t.Errorf("Next after an error = %v, want it again", again)
				}
			})
		}
	}
}

func TestServerRefusesChunks(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	tests := []struct{ name, in string }{
		{"no_digits", "\r\n\r\n"},
		{"blank_first", " 1\r\na\r\n0\r\n\r\n"},
		{"negative", "-1\r\na\r\n0\r\n\r\n"},
		{"hex_prefix", "0x1\r\na\r\n0\r\n\r\n"},
		{"underscore", "1_0\r\na\r\n0\r\n\r\n"},
		{"sixteen_digits", "0000000000000001\r\na\r\n0\r\n\r\n"},
		{"overflow", "ffffffffffffffff1\r\na\r\n0\r\n\r\n"},
		{"garbage_behind_size", "1 a\r\na\r\n0\r\n\r\n"},
		{"blank_before_extension", "1 ;a\r\na\r\n0\r\n\r\n"},
		{"bare_lf_size", "1\na\r\n0\r\n\r\n"},
		{"bare_lf_extension", "1;\na\r\n0\r\n\r\n"},
		{"bare_cr_extension", "1;a\rb\r\na\r\n0\r\n\r\n"},
		{"nul_extension", "1;\x00\r\na\r\n0\r\n\r\n"},
		{"long_extension", "1;" + strings.Repeat("a", 5000) + "\r\na\r\n0\r\n\r\n"},
		{"many_extensions", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\na\r\n", 100) + "0\r\n\r\n"},
		{"data_too_long", "1\r\nab\r\n0\r\n\r\n"},
		{"data_ends_in_lf", "1\r\na\n0\r\n\r\n"},
		{"data_ends_in_cr", "1\r\na\r0\r\n\r\n"},
		{"data_ends_in_nothing", "1\r\na0\r\n\r\n"},
		{"last_chunk_bare_lf", "1\r\na\r\n0\n\n"},
		{"trailer_bare_lf", "0\r\nX: y\n\r\n"},
		{"trailer_end_bare_lf", "0\r\nX: y\r\n\n"},
		{"trailer_folded", "0\r\nX: y\r\n z\r\n\r\n"},
		{"trailer_without_colon", "0\r\nX\r\n\r\n"},
		{"too_many_trailers", "0\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n"},
		{"trailers_too_large", "0\r\nX: " + strings.Repeat("y", 60<<10) + "\r\n\r\n"},
		{"cut_off_size", "1"},
		{"cut_off_data", "2\r\na"},
		{"cut_off_end", "1\r\na\r"},
		{"cut_off_last", "1\r\na\r\n0\r\n"},
		{"cut_off_trailer", "1\r\na\r\n0\r\nX: y\r\n"},
	}
	for _, tt := range tests {
		for _, step := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/step=%d", tt.name, step), func(t *testing.T) {
				s := NewServer(&scriptConn{in: []byte(head + tt.in), step: step}, Options{})
				defer s.Close()
				x, err := s.Next()
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(x)
				var refused *Error
				if !errors.As(err, &refused) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("body = %v, want an Error or an unexpected end", err)
				}
				if strings.HasPrefix(tt.name, "cut_off") != errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("body = %v", err)
				}
				if err := respond(x, 400, ""); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("Next after a broken body = %v, want io.EOF: nobody knows where the next request starts", err)
				}
			})
		}
	}
}
