package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What users ask about is read the same way by the command and by the sidecar.
func TestParseAsked(t *testing.T) {
	for _, tt := range []struct {
		name, method, target string
		headers              []string
		want                 Asked
		text, err            string
	}{
		{name: "a URL", method: "GET", target: "http://users:8080/api?x=1", want: Asked{Method: "GET", Host: "users", Port: 8080, Path: "/api?x=1"}, text: "GET http://users:8080/api?x=1"},
		{name: "no scheme, no path", method: "POST", target: "users.myapp:8080", want: Asked{Method: "POST", Host: "users.myapp", Port: 8080, Path: "/"}, text: "POST http://users.myapp:8080/"},
		{name: "no port", method: "GET", target: "http://users", want: Asked{Method: "GET", Host: "users", Port: 80, Path: "/"}, text: "GET http://users:80/"},
		{name: "a connection", method: "GET", target: "tcp://db:5432", want: Asked{Host: "db", Port: 5432, Path: "/"}, text: "db:5432"},
		{name: "an address", method: "GET", target: "http://[2001:db8::1]:80/", want: Asked{Method: "GET", Host: "2001:db8::1", Port: 80, Path: "/"}, text: "GET http://[2001:db8::1]:80/"},
		{
			name: "headers", method: "GET", target: "http://users:8080/", headers: []string{"X-User: a:b", "Host:other"},
			want: Asked{Method: "GET", Host: "users", Port: 8080, Path: "/", Headers: [][2]string{{"x-user", "a:b"}, {"host", "other"}}}, text: "GET http://users:8080/",
		},
		{name: "TLS of the app", method: "GET", target: "https://users/", err: "the sidecar sees no requests in what the app encrypts itself"},
		{name: "a connection without a port", target: "tcp://db", err: "names no host and port"},
		{name: "a port that is none", target: "http://users:99999/", err: "names no host and port"},
		{name: "no host", target: "http:///x", err: "names no host and port"},
		{name: "a header that is none", target: "http://users/", headers: []string{"x"}, err: "write NAME: VALUE"},
		{name: "no URL", target: "http://us ers/", err: "is no URL"},
		{name: "too many headers", target: "http://users/", headers: strings.Split(strings.Repeat("a: b\n", 101), "\n"), err: "more than 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAsked(tt.method, tt.target, tt.headers)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("ParseAsked() = %v, want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil || got.String() != tt.text {
				t.Errorf("ParseAsked() = %q, %v (-want +got)\n%s", got.String(), err, diff)
			}
		})
	}
}

// The page hands the question on as it was asked, and says what is wrong with one that is none.
func TestWhyPage(t *testing.T) {
	var asked Asked
	page := whyPage(func(_ context.Context, q *Asked) Why {
		asked = *q
		return Why{Pod: "orders"}
	})
	get := func(values url.Values) (int, string) {
		w := httptest.NewRecorder()
		page(w, httptest.NewRequest(http.MethodGet, pathWhy+"?"+values.Encode(), http.NoBody))
		return w.Code, w.Body.String()
	}
	code, body := get(url.Values{"method": {"PUT"}, "target": {"http://users:8080/a%20b?c=d"}, "header": {"a: 1", "a: 2"}})
	want := Asked{Method: "PUT", Host: "users", Port: 8080, Path: "/a%20b?c=d", Headers: [][2]string{{"a", "1"}, {"a", "2"}}}
	if diff := cmp.Diff(want, asked); diff != "" || code != http.StatusOK || !strings.Contains(body, `"pod": "orders"`) {
		t.Errorf("%d %s (-want +got)\n%s", code, body, diff)
	}
	if code, body := get(url.Values{"target": {"https://users"}}); code != http.StatusBadRequest || !strings.Contains(body, "encrypts itself") {
		t.Errorf("%d %s", code, body)
	}
}

// What is taken is a host, a port and a path that a request can have, and is asked about again by the same words.
func FuzzParseAsked(f *testing.F) {
	for _, s := range []string{"http://users:8080/api?x=1", "users", "tcp://db:5432", "https://x", "http://[::1]:80", "http://a:b@c:1/%zz", "://", ""} {
		f.Add("GET", s, "a: b")
	}
	f.Fuzz(func(t *testing.T, method, target, header string) {
		q, err := ParseAsked(method, target, []string{header})
		if err != nil {
			return
		}
		if q.Host == "" || q.Port == 0 || len(q.Headers) != 1 || q.Headers[0][0] == "" {
			t.Errorf("ParseAsked(%q, %q) = %+v", target, header, q)
		}
		if q.Method != "" {
			_, target, _ := strings.Cut(q.String(), " ")
			if again, err := ParseAsked(q.Method, target, nil); err == nil && (again.Host != q.Host || again.Port != q.Port) {
				t.Errorf("%q is %q, and that is %q", target, q.String(), again.String())
			}
		}
	})
}
