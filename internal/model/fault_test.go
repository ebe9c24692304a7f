package model

import (
	"strings"
	"testing"
)

func TestFaultsOfRules(t *testing.T) {
	header := func(name, value string) string {
		return (&HeaderOps{Response: HeaderChange{Add: []HeaderValue{{Name: name, Value: value}}}}).Fault()
	}
	path := func(p string) string { return (&Rewrite{HasPath: true, Path: p}).Fault() }
	for _, tt := range []struct{ name, got, want string }{
		{"no_rewrite", (*Rewrite)(nil).Fault(), ""},
		{"no_redirect", (*Redirect)(nil).Fault(), ""},
		{"header", header("X-A", "b \t\xc3\xa9"), ""},
		{"header_with_escape", header("x-a", "a\x1bb"), `value of header "x-a" has the control character '\x1b'`},
		{"header_with_crlf", header("x-a", "a\r\nb: c"), `'\r'`},
		{"header_name_with_blank", header("x a", "b"), `header name "x a"`},
		{"header_name_empty", header("", "b"), `header name ""`},
		{"path", path("/a%20b?c=d"), ""},
		{"path_empty", path(""), ""},
		{"path_with_blank", path("/x y"), "%20"},
		{"path_with_fragment", path("/x#y"), "fragment"},
		{"path_relative", path("x"), "does not begin with /"},
		{"substitution", (&Rewrite{Regex: "^/a", Substitution: `\1 b`}).Fault(), "blank"},
		{"substitution_that_begins_with_a_group", (&Rewrite{Regex: "^(/a)", Substitution: `\1b`}).Fault(), ""},
		{"authority", (&Rewrite{Authority: "a.b:8080"}).Fault(), ""},
		{"authority_with_slash", (&Rewrite{Authority: "a/b"}).Fault(), "rewritten authority"},
		{"redirect", (&Redirect{Authority: "[::1]:80", HasPath: true, Path: "/a#b"}).Fault(), ""},
		{"redirect_with_crlf", (&Redirect{HasPath: true, Path: "/a\r\nX: y"}).Fault(), "control character"},
		{"redirect_to_two_hosts", (&Redirect{Authority: "a b"}).Fault(), "redirect's authority"},
	} {
		if (tt.got == "") != (tt.want == "") || !strings.Contains(tt.got, tt.want) {
			t.Errorf("%s: %q, want %q in it", tt.name, tt.got, tt.want)
		}
	}
}
