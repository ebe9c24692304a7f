package incluster

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func mirrorOf(port int32, slice bool) Mirror {
	labels := map[string]string{mirroredLabel: "true", managedByLabel: fieldManager, discoveryv1.LabelServiceName: "users-east"}
	out := Mirror{Service: &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "users-east", Namespace: "myapp", Labels: labels},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: port}}},
	}}
	if slice {
		out.Slices = []*discoveryv1.EndpointSlice{{
			ObjectMeta:  metav1.ObjectMeta{Name: "users-east-gateways", Namespace: "myapp", Labels: labels},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
		}}
	}
	return out
}

func newMirrors(t *testing.T, a *api) *Mirrors {
	t.Helper()
	m, err := NewMirrors(MirrorsOptions{Client: a.client(), Namespace: "fairlead-system", Logger: (&logs{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lead has mirrors written until end is called.
func lead(t *testing.T, m *Mirrors) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	return func() {
		cancel()
		<-done
	}
}

// What is made, changed and deleted; and that what somebody else has, also under the same name a moment later, stays.
func TestMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		m := newMirrors(t, a)
		const at, sliceAt = "/api/v1/namespaces/myapp/services/users-east", "/apis/discovery.k8s.io/v1/namespaces/myapp/endpointslices/users-east-gateways"
		key := "myapp/users-east"
		set := func(want *Mirror, gone ...string) {
			wanted := map[string]Mirror{}
			if want != nil {
				wanted[key] = *want
			}
			m.Set(wanted, gone, nil, nil)
			time.Sleep(lastRepair + time.Second)
		}
		one := mirrorOf(80, true)
		set(&one)
		if a.get(at) != nil {
			t.Error("a replica that does not lead has made a mirror")
		}
		end := lead(t, m)
		set(&one)
		if a.get(at) == nil || a.get(sliceAt) == nil {
			t.Fatalf("the leader has made no mirror: %v", a.objects)
		}
		writes := a.count("create", "/api/v1/namespaces/myapp/services") + a.count("update", at)
		set(&one)
		if got := a.count("create", "/api/v1/namespaces/myapp/services") + a.count("update", at); got != writes {
			t.Error("what is as it should be is written again")
		}
		two := mirrorOf(81, false)
		set(&two)
		if port := a.get(at)["spec"].(object)["ports"].([]any)[0].(object)["port"]; port != 81.0 || a.get(sliceAt) != nil {
			t.Errorf("changed: port %v, slice %v", port, a.get(sliceAt))
		}
		set(nil, key)
		if a.get(at) != nil {
			t.Error("it is not deleted")
		}
		set(&one)
		failures := 0
		a.refuse(func(verb, p string) *status {
			if verb == "delete" && p == sliceAt && failures == 0 {
				failures++
				return &status{code: 500, reason: "InternalError", message: "try again"}
			}
			return nil
		})
		set(nil, key)
		if a.get(at) != nil || a.get(sliceAt) != nil || failures != 1 {
			t.Errorf("after %d failures there are Service %v and slice %v", failures, a.get(at), a.get(sliceAt))
		}
		a.refuse(nil)

		mine := object{"metadata": object{"labels": object{"app": "mine"}}, "spec": object{"clusterIP": "10.0.0.1"}}
		a.put(at, mine)
		set(&one)
		set(nil, key)
		if got := a.get(at); got == nil || metaOf(got)["labels"].(object)["app"] != "mine" || len(metaOf(got)["labels"].(object)) != 1 || a.get(sliceAt) != nil {
			t.Errorf("a Service of somebody else is %v, slice %v", got, a.get(sliceAt))
		}

		// Taken over between the look and the deletion.
		a.delete(at)
		set(&two)
		a.refuse(func(verb, p string) *status {
			if verb == "delete" && p == at {
				a.put(at, mine)
			}
			return nil
		})
		set(nil, key)
		if got := a.get(at); got == nil || metaOf(got)["labels"].(object)["app"] != "mine" {
			t.Errorf("what was taken over is deleted: %v", got)
		}
		a.refuse(nil)

		// With an address of its own, headless, and back: the API server changes none into the other.
		a.delete(at)
		set(&one)
		const podsAt = "/apis/discovery.k8s.io/v1/namespaces/myapp/endpointslices/users-east-pods"
		headless := mirrorOf(80, true)
		headless.Service.Spec.ClusterIP, headless.Slices[0].Name = corev1.ClusterIPNone, "users-east-pods"
		before := metaOf(a.get(at))["uid"]
		set(&headless)
		if got := a.get(at); got == nil || got["spec"].(object)["clusterIP"] != "None" || metaOf(got)["uid"] == before || a.get(podsAt) == nil || a.get(sliceAt) != nil {
			t.Errorf("headless: Service %v, pods %v, gateways %v", got, a.get(podsAt), a.get(sliceAt))
		}
		set(&one)
		if got := a.get(at); got == nil || got["spec"].(object)["clusterIP"] == "None" || a.get(podsAt) != nil || a.get(sliceAt) == nil {
			t.Errorf("not headless any more: Service %v, pods %v, gateways %v", got, a.get(podsAt), a.get(sliceAt))
		}
		end()
	})
}

// What is wanted is written as soon as it is, however often it changes: gateways die, pods come and go. Only what somebody else changes back
// is written with longer and longer pauses.
func TestMirrorsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		m := newMirrors(t, a)
		end := lead(t, m)
		const at = "/api/v1/namespaces/myapp/services/users-east"
		for port := range int32(20) {
			m.Set(map[string]Mirror{"myapp/users-east": mirrorOf(port+1, true)}, nil, nil, nil)
			time.Sleep(100 * time.Millisecond)
			got := a.get(at)
			if got == nil || got["spec"].(object)["ports"].([]any)[0].(object)["port"] != float64(port+1) {
				t.Fatalf("after %d changes the Service is %v", port+1, got)
			}
		}
		m.Set(nil, []string{"myapp/users-east"}, nil, nil)
		time.Sleep(100 * time.Millisecond)
		if got := a.get(at); got != nil {
			t.Errorf("what is wanted no longer is %v", got)
		}
		end()
	})
}

// An event is written once for as long as what it says is so.
func TestMirrorsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		m := newMirrors(t, a)
		end := lead(t, m)
		link := corev1.ObjectReference{Kind: "Link", Name: "east", Namespace: "fairlead-system"}
		count := func() int { return a.count("create", "/api/v1/namespaces/fairlead-system/events") }
		for _, step := range []struct {
			events map[string]string
			want   int
		}{{map[string]string{"no namespace": "NamespaceMissing"}, 1}, {map[string]string{"no namespace": "NamespaceMissing"}, 1}, {nil, 1}, {map[string]string{"no namespace": "NamespaceMissing"}, 2}} {
			m.Say(link, step.events)
			time.Sleep(time.Second)
			if got := count(); got != step.want {
				t.Errorf("%d events after %v, want %d", got, step.events, step.want)
			}
		}
		for p, o := range a.objects {
			if strings.Contains(p, "/events/") && (o["reason"] != "NamespaceMissing" || o["message"] != "no namespace" || o["type"] != "Warning") {
				t.Errorf("event %v", o)
			}
		}
		end()
	})
}
