package route

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/plan"
)

// The expectations of BASE and the stricter modes are answers of Envoy 1.40 where they are not marked otherwise.
func TestNormalizePath(t *testing.T) {
	tests := []struct {
		name, in string
		// The results of the modes; "" for the same as the one before, base for in.
		base, merge, decode string
	}{
		{"root", "/", "", "", ""},
		{"normal", "/a/b.c/d-e_f~g;p=1,2:@!$&'()*+[]", "", "", ""},
		{"dots that are names", "/.well-known/..a/a../...", "", "", ""},
		{"current directory", "/a/./b", "/a/b", "", ""},
		{"parent directory", "/x/../admin", "/admin", "", ""},
		{"more parents than directories", "/a/../../../admin", "/admin", "", ""},
		{"ends with current", "/a/.", "/a/", "", ""},
		{"ends with parent", "/a/b/..", "/a/", "", ""},
		{"nothing but parent", "/..", "/", "", ""},
		{"parent of an empty segment", "/a//../b", "/a/b", "", ""},
		{"escaped dots", "/x/%2e%2E/admin", "/admin", "", ""},
		{"half escaped dots", "/x/.%2e/admin", "/admin", "", ""},
		{"backslash", `/a\b`, "/a/b", "", ""},
		{"parent before backslash", `/a/..\c`, "/c", "", ""},
		{"first slash is a backslash", `\admin`, "/admin", "", ""},
		{"no first slash", "a/../b", "/b", "", ""},
		{"escaped letter", "/%61dmin", "/admin", "", ""},
		{"escaped unreserved", "/%2D%5f%7E%30%5A", "/-_~0Z", "", ""},
		{"case of letters stays", "/ADMIN", "", "", ""},
		{"escapes stay, and the case of their digits", "/%c0%AF%25%3f%20", "", "", ""},
		{"escaped slash", "/%2Fadmin", "", "", "/admin"},
		{"escaped slash of lower case", "/a%2fb", "", "", "/a/b"},
		{"escaped backslash", "/a%5cb", "", "", "/a/b"},
		{"parent between escaped slashes", "/a%2f..%2Fadmin", "", "", "/admin"},
		{"two slashes", "//admin", "", "/admin", ""},
		{"slash and backslash", `/\admin`, "//admin", "/admin", ""},
		{"slashes inside and at the end", "/a///b//", "", "/a/b/", ""},
		{"trailing slash stays", "/admin/", "", "", ""},
		{"escaped twice", "/%252e%252e/admin", "", "", ""},
		{"stray percent", "/100%/%zz/%2", "", "", ""},
		{"raw characters are escaped", "/a|b^c\"<>`{}#\xc3\xa9", "/a%7Cb%5Ec%22%3C%3E%60%7B%7D%23%C3%A9", "", ""},
		{"query", "/a/../b?x=/../%61//\\|", "/b?x=/../%61//\\|", "", ""},
		{"query without path", "?x", "/?x", "", ""},
		{"slashes in a query", "/a//b?c=///d", "", "/a/b?c=///d", ""},
		{"asterisk", "*", "", "", ""},
		{"none", "", "", "", ""},
		// Envoy gives /%2e%2e/admin, which is another path to whoever normalizes it again.
		{"escapes that would make an escape", "/%%32e%%32e/admin", "", "", ""},
		{"escapes that would make an escape by its second digit", "/%2%65", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.in
			for _, m := range []struct {
				mode plan.PathNormalization
				want string
			}{
				{plan.PathNone, tt.in},
				{plan.PathBase, tt.base},
				{plan.PathMergeSlashes, tt.merge},
				{plan.PathDecodeAndMergeSlashes, tt.decode},
			} {
				if m.want != "" {
					want = m.want
				}
				if got, ok := NormalizePath(nil, []byte(tt.in), m.mode); string(got) != want || !ok {
					t.Errorf("%s: NormalizePath(%q) = %q, %t, want %q", m.mode, tt.in, got, ok, want)
				}
			}
		})
	}
	for _, in := range []string{"/xyz/.%00../abc", "/%00", "/a\x00b"} {
		if got, ok := NormalizePath(nil, []byte(in), plan.PathBase); ok {
			t.Errorf("NormalizePath(%q) = %q, want it to be refused", in, got)
		}
	}
}

func TestNormalizePathAllocatesNothing(t *testing.T) {
	scratch := make([]byte, 0, 64)
	paths := [][]byte{[]byte("/"), []byte("/api/user/123?x=1/../2"), []byte("/.well-known/a%20b/c%2Fd"), []byte("/a/../b")}
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range paths {
			NormalizePath(scratch, p, plan.PathBase)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, path := range []string{"/api/user/123?x=1", "/a%20b/c%2Fd", "/a/b/../c"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			scratch, target := make([]byte, 0, 64), []byte(path)
			for b.Loop() {
				NormalizePath(scratch, target, plan.PathBase)
			}
		})
	}
}

// FuzzNormalizePath compares with a slow way to do the same, and wants the result to be normal.
func FuzzNormalizePath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/../b", "/%2e%2e/%61", `/\a`, "/a%2f..%5cb//", "/%%32e", "/%2%65/", "?x", "/a|\xff%7c", "/..//./%2E.", "/%00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		for _, mode := range []plan.PathNormalization{plan.PathNone, plan.PathBase, plan.PathMergeSlashes, plan.PathDecodeAndMergeSlashes} {
			got, ok := NormalizePath(nil, target, mode)
			want, wantOK := naiveNormalizePath(string(target), mode)
			if string(got) != want || ok != wantOK {
				t.Fatalf("%s: NormalizePath(%q) = %q, %t, want %q, %t", mode, target, got, ok, want, wantOK)
			}
			if again, _ := NormalizePath(nil, got, mode); ok && !bytes.Equal(again, got) {
				t.Fatalf("%s: %q is normalized to %q, and that to %q", mode, target, got, again)
			}
		}
	})
}

// naiveNormalizePath goes over the path once for each thing that is to be done.
func naiveNormalizePath(target string, mode plan.PathNormalization) (string, bool) {
	if mode == plan.PathNone || target == "" || target == "*" {
		return target, true
	}
	path, query, hasQuery := strings.Cut(target, "?")
	if strings.Contains(path, "%00") || strings.Contains(path, "\x00") {
		return "", false
	}
	if mode == plan.PathDecodeAndMergeSlashes {
		path = naiveDecode(path, regexp.MustCompile(`(?i)2f|5c`))
	}
	path = naiveDecode(path, regexp.MustCompile(`(?i)2d|2e|3\d|4[1-9a-f]|5[0-9a]|5f|6[1-9a-f]|7[0-9a]|7e`))
	path = strings.ReplaceAll(path, `\`, "/")
	var kept []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == ".." && len(kept) > 0 {
			kept = kept[:len(kept)-1]
		}
		if s != ".." && s != "." {
			kept = append(kept, s)
		} else if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	path = "/" + strings.Join(kept, "/")
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>^`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	path = b.String()
	for mergesSlashes(mode) && strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if hasQuery {
		path += "?" + query
	}
	return path, true
}

// naiveDecode unescapes the escapes with the given digits, except where that makes a new one.
func naiveDecode(path string, digits *regexp.Regexp) string {
	stray := regexp.MustCompile(`%[0-9a-fA-F]?$`)
	out := ""
	strayed := false // out ends with a percent sign that begins no escape, and at most one digit
	for path != "" {
		if !regexp.MustCompile(`^%[0-9a-fA-F]{2}`).MatchString(path) {
			out, path = out+path[:1], path[1:]
			strayed = stray.MatchString(out)
			continue
		}
		n, _ := strconv.ParseUint(path[1:3], 16, 8)
		c := string([]byte{byte(n)})
		makesEscape := strayed && regexp.MustCompile(`^[0-9a-fA-F]$`).MatchString(c)
		if digits.FindString(path[1:3]) == path[1:3] && !makesEscape {
			out += c
		} else {
			out += path[:3]
		}
		strayed = false
		path = path[3:]
	}
	return out
}
