package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"
)

// encoder writes objects as an API server does, by Kubernetes' own serializers.
type encoder struct{ protobuf bool }

func (e encoder) contentType(stream string) string {
	if e.protobuf {
		return Protobuf + stream
	}
	return JSON
}

func scheme(tb testing.TB) *runtime.Scheme {
	tb.Helper()
	s := runtime.NewScheme()
	if err := corev1.AddToScheme(s); err != nil {
		tb.Fatal(err)
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
}

func (e encoder) object(tb testing.TB, o runtime.Object) []byte {
	tb.Helper()
	var b bytes.Buffer
	var err error
	if e.protobuf {
		s := scheme(tb)
		err = protobuf.NewSerializer(s, s).Encode(o, &b)
	} else {
		err = json.NewEncoder(&b).Encode(o)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func (e encoder) event(tb testing.TB, kind string, o runtime.Object) []byte {
	tb.Helper()
	event := &metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: bytes.TrimSpace(e.object(tb, o))}}
	if !e.protobuf {
		text, err := json.Marshal(event)
		if err != nil {
			tb.Fatal(err)
		}
		return append(text, '\n')
	}
	var b bytes.Buffer
	event.Object.Raw = e.object(tb, o)
	frames := protobuf.LengthDelimitedFramer.NewFrameWriter(&b)
	s := scheme(tb)
	if err := protobuf.NewRawSerializer(s, s).Encode(event, frames); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func service(name, version string) corev1.Service {
	return corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "myapp", Name: name, ResourceVersion: version},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1"},
	}
}

func status(code int32, reason metav1.StatusReason, message string) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}
}

func client(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// told writes down what a follower tells.
type told struct{ lines []string }

func (s *told) say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *told) Decode(raw Raw) (metav1.Object, error) {
	o := new(corev1.Service)
	return o, raw.Into(o)
}
func (s *told) Begin()    { s.say("begin") }
func (s *told) Listed()   { s.say("listed") }
func (s *told) Watching() { s.say("watching") }

func (s *told) Set(o metav1.Object) {
	v, _ := o.(*corev1.Service)
	s.say("set %s %s at %s", v.Name, v.Spec.ClusterIP, v.ResourceVersion)
}
func (s *told) Gone(o metav1.Object) { s.say("gone %s", o.GetName()) }

// TestFollower lists in two pages and watches, in both formats, until the server no longer remembers that far back.
func TestFollower(t *testing.T) {
	for _, e := range []encoder{{protobuf: false}, {protobuf: true}} {
		t.Run(e.contentType(""), func(t *testing.T) {
			watches := 0
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if r.URL.Path != "/api/v1/services" || r.Header.Get("Accept") != Protobuf+","+JSON || q.Get("fieldSelector") != "a=b" {
					t.Errorf("asked for %s as %s", r.URL, r.Header.Get("Accept"))
				}
				switch {
				case q.Get("watch") == "" && q.Get("continue") == "":
					w.Header().Set("Content-Type", e.contentType(""))
					list := &corev1.ServiceList{
						TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"},
						ListMeta: metav1.ListMeta{ResourceVersion: "5", Continue: "next"}, Items: []corev1.Service{service("a", "1"), service("b", "2")},
					}
					_, _ = w.Write(e.object(t, list))
				case q.Get("watch") == "":
					w.Header().Set("Content-Type", e.contentType(""))
					list := &corev1.ServiceList{
						TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"},
						ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.Service{service("c", "3")},
					}
					_, _ = w.Write(e.object(t, list))
				case watches == 0:
					watches++
					if q.Get("resourceVersion") != "5" || q.Get("allowWatchBookmarks") != "true" {
						t.Errorf("watched %s", r.URL)
					}
					w.Header().Set("Content-Type", e.contentType(";stream=watch"))
					d, f := service("d", "6"), service("a", "7")
					bookmark := &corev1.Service{TypeMeta: d.TypeMeta, ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9"}}
					_, _ = w.Write(append(append(e.event(t, "ADDED", &d), e.event(t, "DELETED", &f)...), e.event(t, "BOOKMARK", bookmark)...))
				default:
					if q.Get("resourceVersion") != "9" {
						t.Errorf("watched %s", r.URL)
					}
					w.Header().Set("Content-Type", e.contentType(";stream=watch"))
					_, _ = w.Write(e.event(t, "ERROR", status(http.StatusGone, metav1.StatusReasonExpired, "too old")))
				}
			})
			var s told
			f := Follower{
				Client: c, Sink: &s,
				Collection: Collection{Path: "/api/v1/services", Selector: "a=b", Media: []string{Protobuf, JSON}},
			}
			if verb, err := f.Turn(t.Context()); err != nil || !f.Resumes() {
				t.Fatalf("Turn = %s, %v", verb, err)
			}
			want := []string{
				"begin", "set a 10.0.0.1 at 1", "set b 10.0.0.1 at 2", "set c 10.0.0.1 at 3", "listed",
				"watching", "set d 10.0.0.1 at 6", "gone a",
			}
			if diff := cmp.Diff(want, s.lines); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if verb, err := f.Turn(t.Context()); verb != "watch" || !Expired(err) || Unavailable(err) || f.Resumes() {
				t.Errorf("Turn = %s, %v, want an expired watch", verb, err)
			}
		})
	}
}

func TestFollowerOfMetadata(t *testing.T) {
	var asked []string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Accept"))
		w.Header().Set("Content-Type", JSON)
		if r.URL.Query().Get("watch") == "" {
			_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"1"},"items":[]}`)
		}
	})
	f := Follower{Client: c, Sink: &told{}, Collection: Collection{Path: "/api/v1/nodes", Media: []string{JSON}, MetadataOnly: true}, Brief: time.Minute}
	if _, err := f.Turn(t.Context()); !errors.Is(err, ErrBrief) || !Unavailable(err) {
		t.Errorf("Turn = %v, want %v", err, ErrBrief)
	}
	want := []string{"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestNoList: an answer that is no list is never taken for an empty one.
func TestNoList(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	var s told
	f := Follower{Client: c, Sink: &s, Collection: Collection{Path: "/api/v1/nodes"}}
	if verb, err := f.Turn(t.Context()); verb != "list" || !errors.Is(err, ErrNoVersion) || len(s.lines) != 1 {
		t.Errorf("Turn = %s, %v, told %q", verb, err, s.lines)
	}
}

// TestWatchThatBreaks: a connection that ends in the midst of an event is no orderly end.
func TestWatchThatBreaks(t *testing.T) {
	for _, e := range []encoder{{protobuf: false}, {protobuf: true}} {
		t.Run(e.contentType(""), func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", e.contentType(";stream=watch"))
				a := service("a", "1")
				text := e.event(t, "ADDED", &a)
				_, _ = w.Write(text[:len(text)-9])
			})
			w, err := c.Watch(t.Context(), Request{Path: "/api/v1/services"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Next(); err == nil || errors.Is(err, io.EOF) || !Unavailable(err) {
				t.Errorf("Next = %v", err)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	forbidden := status(http.StatusForbidden, metav1.StatusReasonForbidden, "not for you")
	tests := []struct {
		name, contentType string
		code              int
		body              []byte
		is                func(error) bool
		want              string
	}{
		{"in_json", JSON, http.StatusForbidden, encoder{}.object(t, forbidden), apierrors.IsForbidden, "not for you"},
		{"in_protobuf", Protobuf, http.StatusForbidden, encoder{protobuf: true}.object(t, forbidden), apierrors.IsForbidden, "not for you"},
		{"of_a_proxy", "text/html", http.StatusBadGateway, []byte("<html>" + strings.Repeat("x", 1000)), func(err error) bool { return !Unavailable(err) }, "<html>xxx"},
		{"without_words", "", http.StatusServiceUnavailable, nil, Unavailable, ""},
		{"broken_protobuf", Protobuf, http.StatusConflict, []byte("k8s\x00\xff"), apierrors.IsConflict, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.code)
				_, _ = w.Write(tt.body)
			})
			var got corev1.Service
			if err := c.Get(t.Context(), "/api/v1/services", &got); err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 400 {
				t.Errorf("Get = %v", err)
			}
		})
	}
}

// TestRetryAfter: a request that may be made again is, when the server says.
func TestRetryAfter(t *testing.T) {
	asked := 0
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked++
		if string(body) != "{}" || r.Header.Get("Content-Type") != JSON || r.URL.RawQuery != "a=b&c=d" {
			t.Errorf("asked %s with %q", r.URL, body)
		}
		if asked < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, `{"metadata":{"name":"a"}}`)
	})
	r := Request{Method: http.MethodPost, Path: "/x?a=b", Query: url.Values{"c": {"d"}}, Body: []byte("{}"), Retries: 1}
	if _, err := c.Limited(1000, 1000).Do(t.Context(), r); !apierrors.IsTooManyRequests(err) || asked != 2 {
		t.Errorf("Do = %v after %d requests", err, asked)
	}
	if answer, err := c.Do(t.Context(), r); err != nil || !strings.Contains(string(answer.Text), `"a"`) || asked != 3 {
		t.Errorf("Do = %v after %d requests", err, asked)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
		cancel()
	})
	if _, err := c.Do(ctx, Request{Path: "/x", Retries: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v", err)
	}
}

// FuzzPage gives the reader of lists and frames anything: it never panics.
func FuzzPage(f *testing.F) {
	list := &corev1.ServiceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"}, Items: []corev1.Service{service("a", "1")}}
	a := service("a", "1")
	f.Add(encoder{protobuf: true}.object(f, list))
	f.Add(encoder{protobuf: true}.event(f, "ADDED", &a))
	f.Add([]byte(`{"metadata":{},"items":[{}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		for _, protobuf := range []bool{false, true} {
			raw, err := Raw{Text: text, Protobuf: protobuf}.opened()
			if err != nil {
				continue
			}
			p, err := raw.page()
			for i := 0; err == nil && i < len(p.items); i++ {
				err = p.items[i].Into(new(corev1.Service))
			}
		}
		w := Watch{body: io.NopCloser(bytes.NewReader(text))}
		for _, err := w.frame(); err == nil; {
			_, err = w.frame()
		}
	})
}
