package consul

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/consul/consultest"
)

// direct hands requests to a handler, without a socket: a bubble's time passes while it waits.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ServeHTTP(w, r)
	}()
	<-done // a handler ends with its request
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// story is a Source that follows a fake, and what it has said. It belongs to a bubble.
type story struct {
	*consultest.Fake
	source *Source

	mu       sync.Mutex
	objects  map[model.Ref]source.Object
	changes  int
	problems []string
}

// longest bounds the bytes of an answer in these tests, which ask hundreds of questions.
const longest = 64 << 10

func begin(t *testing.T, f *consultest.Fake, o Options) *story {
	t.Helper()
	s := &story{Fake: f, objects: map[model.Ref]source.Object{}}
	o.Address = "consul.example.com"
	o.Problems = func(list []model.Problem) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems = nil
		for i := range list {
			s.problems = append(s.problems, list[i].String())
		}
	}
	var err error
	if s.source, err = New(o); err != nil {
		t.Fatal(err)
	}
	s.source.client.http.Transport = direct{f}
	if s.source.client.most != maxAnswer {
		t.Errorf("answers may have %d bytes, want %d", s.source.client.most, maxAnswer)
	}
	s.source.client.most = longest
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.source.Run(ctx, s.take); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	synctest.Wait()
	return s
}

func (s *story) take(c source.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	for _, ref := range c.Deletes {
		delete(s.objects, ref)
	}
	for _, o := range c.Upserts {
		s.objects[o.Ref] = o
	}
}

// hosts lists what can be called, with the addresses of each, but for the servers themselves: "users.service.consul 10.0.0.1:80*1".
func (s *story) hosts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, o := range s.objects {
		spec := &o.Value.(*networkingv1.ServiceEntry).Spec
		if strings.HasPrefix(spec.GetHosts()[0], "consul.service.") {
			continue
		}
		line := []string{spec.GetHosts()[0]}
		for _, e := range spec.GetEndpoints() {
			line = append(line, e.GetAddress())
		}
		out = append(out, strings.Join(line, " "))
	}
	slices.Sort(out)
	return out
}

func (s *story) want(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := s.hosts(); !slices.Equal(got, want) {
		t.Errorf("%s: hosts %q, want %q", when, got, want)
	}
}

// trouble gives the problems, each of which has to contain one of the words.
func (s *story) trouble(t *testing.T, when string, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := len(s.problems) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.Contains(s.problems[i], want[i])
	}
	if !ok {
		t.Errorf("%s: problems %q, want %q", when, s.problems, want)
	}
}

// later lets time pass, and what comes of it.
func later(d time.Duration) {
	time.Sleep(d) // of a bubble
	synctest.Wait()
}

func at(address string) consultest.Instance {
	return consultest.Instance{ID: "users-" + address, Address: address, Port: 8080}
}

func TestServicesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, consultest.New("dc1", "dc2"), Options{Datacenters: []string{"dc2"}})
		select {
		case <-s.source.Settled():
		default:
			t.Error("not settled once all has answered")
		}
		s.want(t, "at first")
		s.Set("dc1", "users", at("10.0.0.1"))
		s.Set("dc2", "users", at("10.2.0.1"))
		later(3 * time.Second)
		s.want(t, "registered", "users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1", "users.service.dc2.consul 10.2.0.1")
		critical := at("10.0.0.2")
		critical.Status = "critical"
		s.Set("dc1", "users", at("10.0.0.1"), at("10.0.0.3"), critical)
		later(3 * time.Second)
		s.want(t, "more", "users.service.consul 10.0.0.1 10.0.0.3", "users.service.dc1.consul 10.0.0.1 10.0.0.3", "users.service.dc2.consul 10.2.0.1")
		s.Set("dc1", "users", critical)
		later(3 * time.Second)
		s.want(t, "none is well", "users.service.consul", "users.service.dc1.consul", "users.service.dc2.consul 10.2.0.1")
		s.Set("dc1", "users")
		later(3 * time.Second)
		s.want(t, "gone", "users.service.dc2.consul 10.2.0.1")
		s.trouble(t, "all the time")
	})
}

// TestIndexThatGoesBackwards is what Consul's documentation demands: the next question begins anew; and whatever a server does, it is
// not asked more than twice at once, and once a second then.
func TestIndexThatGoesBackwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, consultest.New("dc1"), Options{})
		s.SetIndex("dc1", 100)
		later(10 * time.Second)
		s.Asked()
		s.SetIndex("dc1", 7)
		later(10 * time.Second)
		var catalogs []string
		for _, q := range s.Asked() {
			if strings.HasPrefix(q, "/v1/catalog/services") {
				catalogs = append(catalogs, q)
			}
		}
		if len(catalogs) != 2 || strings.Contains(catalogs[0], "index=") || !strings.Contains(catalogs[1], "index=7&") {
			t.Errorf("after the index went from 100 to 7: %q, want one question without an index, then one with 7", catalogs)
		}
		for name, index := range map[string]string{"0": "0", "no number": "x"} {
			s.Break(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Consul-Index", index)
				io.WriteString(w, `{"consul":[]}`)
			})
			s.SetIndex("dc1", 8) // wakes who waits
			later(10 * time.Second)
			s.Asked()
			later(100 * time.Second)
			asked := s.Asked()
			n := 0
			for _, q := range asked {
				if strings.HasPrefix(q, "/v1/catalog/services") {
					n++
					if !strings.Contains(q, "index=1&") {
						t.Errorf("index %s: %s, want index=1", name, q)
					}
				}
			}
			if n < 90 || n > 102 {
				t.Errorf("index %s: %d questions in 100 s, want one a second", name, n)
			}
		}
	})
}

// TestConsulInTrouble: nothing is removed, it is said, and all is well again without being told.
func TestConsulInTrouble(t *testing.T) {
	all := []string{"users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1"}
	plain := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, tt := range []struct {
		name  string
		fault http.HandlerFunc
		said  string
	}{
		{"the_token_is_refused", plain(403, "ACL not found\n"), `it answers 403 "ACL not found"`},
		{"it_fails", plain(500, "No cluster leader"), `it answers 500 "No cluster leader"`},
		{"it_leads_elsewhere", plain(302, "", "Location", "http://evil.example.com/"), "it answers 302"},
		{"garbage", plain(200, "<html>welcome</html>"), "the answer is not Consul's"},
		{"another_shape", plain(200, `[1, 2]`), "the answer is not Consul's"},
		{"nothing", plain(200, ""), "the answer is empty"},
		{"null", plain(200, "null"), "the answer is empty"},
		{"an_empty_catalog", plain(200, "{}", "X-Consul-Index", "99"), "its catalog is empty"},
		{"all_of_it_filtered", plain(200, "{}", "X-Consul-Index", "99", "X-Consul-Results-Filtered-By-ACLs", "true"), "the token may read none of it"},
		{"no_leader", plain(200, `{"consul":[]}`, "X-Consul-KnownLeader", "false"), "knows no leader"},
		{"a_very_long_answer", plain(200, `{"a":["`+strings.Repeat("x", longest)+`"]}`), "longer than 0.0625 MiB"},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := begin(t, consultest.New("dc1"), Options{})
				s.Set("dc1", "users", at("10.0.0.1"))
				later(3 * time.Second)
				s.want(t, "before", all...)
				s.Break(tt.fault)
				s.SetIndex("dc1", 50)
				later(10 * time.Minute)
				s.want(t, "in trouble", all...)
				s.trouble(t, "in trouble", tt.said)
				if st := s.source.Statuses()[0]; st.Cause == "" || st.Datacenter != "dc1" || st.Failures == 0 {
					t.Errorf("status %+v", st)
				}
				s.Asked()
				later(10 * time.Minute)
				if n := len(s.Asked()); n > 3*2*600 {
					t.Errorf("%d questions in ten minutes", n)
				}
				s.Break(nil)
				s.Set("dc1", "users", at("10.0.0.1"), at("10.0.0.2"))
				later(time.Minute)
				s.want(t, "well again", "users.service.consul 10.0.0.1 10.0.0.2", "users.service.dc1.consul 10.0.0.1 10.0.0.2")
				s.trouble(t, "well again")
			})
		})
	}
}

// TestOneDatacenterAway: the others are not slower for it, and it comes when it is there.
func TestOneDatacenterAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1", "dc2")
		f.Set("dc2", "users", at("10.2.0.1"))
		away := true
		var mu sync.Mutex
		mended := consultest.New("dc1", "dc2")
		mended.Set("dc2", "users", at("10.2.0.1"))
		f.Break(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			gone := away
			mu.Unlock()
			if gone && r.URL.Query().Get("dc") == "dc2" {
				<-r.Context().Done()
				return
			}
			mended.ServeHTTP(w, r)
		})
		s := begin(t, f, Options{Datacenters: []string{AllDatacenters}})
		mended.Set("dc1", "users", at("10.0.0.1"))
		later(2 * time.Second)
		s.want(t, "dc2 is silent", "users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1")
		later(answerTime)
		s.trouble(t, "dc2 is silent", "ConsulDatacenter dc2: catalog not read: no answer in time")
		select {
		case <-s.source.Settled():
		default:
			t.Error("not settled after it failed to answer")
		}
		mu.Lock()
		away = false
		mu.Unlock()
		later(time.Minute)
		s.want(t, "dc2 is back", "users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1", "users.service.dc2.consul 10.2.0.1")
		s.trouble(t, "dc2 is back")
	})
}

func TestTokenOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		f.Demand("first")
		f.Set("dc1", "users", at("10.0.0.1"))
		s := begin(t, f, Options{TokenFile: file})
		later(2 * time.Second)
		s.want(t, "with the token", "users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1")
		f.Demand("second")
		f.SetIndex("dc1", 50) // who waits has shown the first one
		later(10 * time.Second)
		f.Set("dc1", "users", at("10.0.0.2"))
		later(10 * time.Minute)
		s.want(t, "it was rotated", "users.service.consul 10.0.0.1", "users.service.dc1.consul 10.0.0.1")
		s.trouble(t, "it was rotated", "ACL not found")
		write("second\n")
		later(time.Minute)
		s.want(t, "the file was too", "users.service.consul 10.0.0.2", "users.service.dc1.consul 10.0.0.2")
		s.trouble(t, "the file was too")
	})
}

// TestManyServices: more than may be asked for at a time take turns, and a change of any of them is known within some seconds.
func TestManyServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		name := func(i int) string { return "s" + strings.Repeat("x", i%20) + string(rune('a'+i/20)) }
		for i := range 3 * maxHeld {
			f.Set("dc1", name(i), at("10.0.0.1"))
		}
		s := begin(t, f, Options{})
		later(5 * time.Second)
		if n := len(s.hosts()); n != 2*3*maxHeld {
			t.Fatalf("%d hosts, want two for each of %d services", n, 3*maxHeld)
		}
		f.Set("dc1", name(7), at("10.0.0.9"))
		later(15 * time.Second)
		if got := s.hosts(); !slices.ContainsFunc(got, func(h string) bool { return strings.HasSuffix(h, " 10.0.0.9") }) {
			t.Error("a change is not known after 15 s")
		}
	})
}
