package httpx

import "testing"

func TestIsHost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in       string
		host, withPort bool
	}{
		{"empty", "", true, false},
		{"name", "users-service.myapp", true, false},
		{"name_and_port", "users_service:8080", true, true},
		{"name_and_empty_port", "users:", true, false},
		{"ipv4", "10.0.0.1:80", true, true},
		{"ipv6", "[fd00::1]", true, false},
		{"ipv6_and_port", "[fd00::1]:80", true, true},
		{"ipv6_with_zone", "[fe80::1%25eth0]:80", true, true},
		{"percent_encoded", "a%20b", true, false},
		{"port_alone", ":80", false, false},
		{"port_of_letters", "a:b", false, false},
		{"port_too_large", "a:65536", false, false},
		{"two_ports", "a:80:80", false, false},
		{"ipv6_bare", "fd00::1", false, false},
		{"ipv6_not_closed", "[fd00::1", false, false},
		{"text_behind_ipv6", "[fd00::1]a:80", false, false},
		{"bracket_inside", "a[b]", false, false},
		{"userinfo", "user@a", false, false},
		{"path", "a/b", false, false},
		{"blank", "a b", false, false},
		{"crlf", "a\r\nb: c", false, false},
		{"percent_alone", "a%2", false, false},
		{"utf8", "\xc3\xa9", false, false},
	} {
		if got := IsHost([]byte(tt.in)); got != tt.host {
			t.Errorf("%s: IsHost(%q) = %t", tt.name, tt.in, got)
		}
		if got := IsHostPort([]byte(tt.in)); got != tt.withPort {
			t.Errorf("%s: IsHostPort(%q) = %t", tt.name, tt.in, got)
		}
	}
}

// FuzzIsText compares eight bytes at a time with one.
func FuzzIsText(f *testing.F) {
	f.Add([]byte("a value\tof\x80 many bytes"))
	f.Add([]byte("12345678\x7f"))
	f.Add([]byte("\x1f2345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := IsText(b), isShortText(b); got != want {
			t.Errorf("IsText(%q) = %t, byte by byte %t", b, got, want)
		}
	})
}

func TestIsGRPC(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;charset=utf-8": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grpc-web-text": false, "application/grpcx": false,
		"application/grp": false, "": false,
	} {
		if got := IsGRPC([]byte(contentType)); got != want {
			t.Errorf("IsGRPC(%q) = %t", contentType, got)
		}
	}
}
