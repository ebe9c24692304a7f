package consul

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/consulsync"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/consul/consultest"
)

// registry is a Registrar that writes into a fake, and what it has said. It belongs to a bubble.
type registry struct {
	*consultest.Fake
	registrar *Registrar
	stop      func()

	mu       sync.Mutex
	problems []string
}

func startRegistrar(t *testing.T, f *consultest.Fake) *registry {
	t.Helper()
	s := &registry{Fake: f}
	var err error
	s.registrar, err = NewRegistrar(Options{Address: "consul.example.com", Cluster: "east", Problems: func(list []model.Problem) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.problems = nil
		for i := range list {
			s.problems = append(s.problems, list[i].String())
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.registrar.client.http.Transport = direct{f}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.registrar.Run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(s.stop)
	synctest.Wait()
	return s
}

// wanted is a service with an instance at each port, as package consulsync wants it: its metadata is read by that alone.
func wanted(service string, ports ...int) (list []consulsync.Instance) {
	for _, p := range ports {
		list = append(list, consulsync.Instance{
			ID: fmt.Sprint(service, "-", p), Service: service, Address: "10.0.0.1", Port: p, Tags: []string{"v1"}, Meta: ours(),
		})
	}
	return list
}

func ours() map[string]string { return map[string]string{"fairlead-cluster": "east"} }

func (s *registry) want(list ...consulsync.Instance) {
	s.registrar.Set(consulsync.Wanted{Cluster: "east", Instances: list})
}

// has lists what the catalog has of a service: "node ID".
func (s *registry) has(service string) (out []string) {
	for _, i := range s.Instances("dc1", service) {
		out = append(out, strings.TrimSpace(i.Node+" "+i.ID))
	}
	slices.Sort(out)
	return out
}

func (s *registry) check(t *testing.T, when, service string, want ...string) {
	t.Helper()
	if got := s.has(service); !slices.Equal(got, want) {
		t.Errorf("%s: the catalog has %q of %s, want %q", when, got, service, want)
	}
}

func (s *registry) wrong() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.problems, "\n")
}

// writes counts requests that change the catalog, since the last call.
func (s *registry) writes() (n int) {
	for _, q := range s.Asked() {
		if strings.HasSuffix(q, "register") {
			n++
		}
	}
	return n
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		byHand := consultest.Instance{ID: "by-hand", Address: "192.0.2.1", Port: 80}
		beside := consultest.Instance{ID: "beside", Address: "192.0.2.2", Port: 80, Node: consulsync.Node, Meta: map[string]string{"external-source": "kubernetes"}}
		left := consultest.Instance{ID: "left", Address: "192.0.2.3", Port: 80, Node: consulsync.Node, Meta: ours()}
		elsewhere := left
		elsewhere.ID, elsewhere.Node = "elsewhere", "node-of-another"
		f.Set("dc1", "users", byHand, beside, left, elsewhere)
		s := startRegistrar(t, f)
		later(time.Hour)
		s.check(t, "before anything is wanted", "users", "by-hand", "k8s-sync beside", "k8s-sync left", "node-of-another elsewhere")
		s.want(wanted("users", 80, 81)...)
		later(3 * time.Second)
		s.check(t, "at first", "users", "by-hand", "k8s-sync beside", "k8s-sync users-80", "k8s-sync users-81", "node-of-another elsewhere")

		s.writes()
		later(10 * time.Minute)
		if n := s.writes(); n != 0 {
			t.Errorf("%d writes where nothing changes", n)
		}
		s.want(wanted("users", 81)...)
		later(3 * time.Second)
		s.check(t, "with an endpoint less", "users", "by-hand", "k8s-sync beside", "k8s-sync users-81", "node-of-another elsewhere")

		f.Set("dc1", "users", byHand)
		later(compareTime)
		s.check(t, "after the catalog has lost it", "users", "by-hand", "k8s-sync users-81")

		s.want()
		later(3 * time.Second)
		s.check(t, "where it is wanted no longer", "users", "by-hand")
		if wrong := s.wrong(); wrong != "" {
			t.Errorf("it says %s", wrong)
		}
	})
}

func TestRegistrarInTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		f.Break(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		})
		s := startRegistrar(t, f)
		s.want(wanted("users", 80)...)
		later(10 * time.Minute)
		if want := `it answers 500 "No cluster leader"; what the catalog has of them stays`; !strings.Contains(s.wrong(), want) {
			t.Errorf("while Consul is away it says %q, want %q", s.wrong(), want)
		}
		if n := len(s.Asked()); n > 40 {
			t.Errorf("%d questions in ten minutes in which Consul is away", n)
		}
		for i := range 100 { // changes are no reason to ask sooner
			s.want(wanted("users", 80, 100+i)...)
			later(time.Second)
		}
		if n := len(s.Asked()); n > 10 {
			t.Errorf("%d questions in 100 seconds in which Consul is away and endpoints change", n)
		}
		f.Break(nil)
		later(maxPause + time.Second)
		s.check(t, "after Consul is back", "users", "k8s-sync users-199", "k8s-sync users-80")
		if s.wrong() != "" {
			t.Errorf("after that it says %q", s.wrong())
		}
	})
}

// refusing refuses to write a service, as for a token that may not.
type refusing struct {
	*consultest.Fake
	service string
}

func (f refusing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || strings.Contains(string(body), `"Service":"`+f.service+`"`) {
		http.Error(w, "Permission denied", http.StatusForbidden)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.Fake.ServeHTTP(w, r)
}

func TestRegistrarRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		s := startRegistrar(t, f)
		s.registrar.client.http.Transport = direct{refusing{f, "secret"}}
		s.want(append(wanted("secret", 80, 81), wanted("users", 80)...)...)
		later(time.Minute)
		s.check(t, "beside a service that is refused", "users", "k8s-sync users-80")
		if want := `service "secret" cannot be registered: it answers 403 "Permission denied"`; !strings.Contains(s.wrong(), want) {
			t.Errorf("it says %q, want %q", s.wrong(), want)
		}
		s.want(append(wanted("secret", 80, 81), wanted("users", 80, 81)...)...)
		later(2 * time.Second)
		s.check(t, "after a change, which waits for no pause", "users", "k8s-sync users-80", "k8s-sync users-81")
		s.stop()
		if s.wrong() != "" {
			t.Errorf("after its end it says %q", s.wrong())
		}
	})
}

func TestInwardIgnoresOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := consultest.New("dc1")
		f.Set("dc1", "own", consultest.Instance{ID: "a", Address: "10.0.0.1", Port: 80, Meta: ours()})
		f.Set("dc1", "both", consultest.Instance{ID: "a", Address: "10.0.0.1", Port: 80, Meta: ours()}, consultest.Instance{ID: "b", Address: "10.0.0.2", Port: 80})
		f.Set("dc1", "west", consultest.Instance{ID: "a", Address: "10.1.0.1", Port: 80, Meta: map[string]string{"fairlead-cluster": "west"}})
		s := begin(t, f, Options{Cluster: "east"})
		want := []string{
			"both.service.consul 10.0.0.2", "both.service.dc1.consul 10.0.0.2", "west.service.consul 10.1.0.1", "west.service.dc1.consul 10.1.0.1",
		}
		if diff := cmp.Diff(want, s.hosts()); diff != "" {
			t.Errorf("hosts (-want +got):\n%s", diff)
		}
	})
}
