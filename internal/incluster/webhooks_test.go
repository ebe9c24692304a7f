package incluster

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	injectorPath  = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/fairlead-sidecar-injector"
	validatorPath = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/fairlead-validator"
)

// registered makes a registration of webhooks with these bundles; an empty one is left out.
func registered(bundles ...string) object {
	hooks := []any{}
	for i, b := range bundles {
		config := object{"service": object{"name": "fairlead-controller", "namespace": "fairlead-system", "path": "/inject"}}
		if b != "" {
			config["caBundle"] = base64.StdEncoding.EncodeToString([]byte(b))
		}
		hooks = append(hooks, object{
			"name": fmt.Sprintf("hook%d.fairlead.dev", i), "clientConfig": config,
			"sideEffects": "None", "admissionReviewVersions": []any{"v1"},
		})
	}
	return object{"webhooks": hooks}
}

// bundlesAt gives the bundles of a registration, nil where there is none.
func bundlesAt(tb testing.TB, a *api, path string) (bundles []string) {
	tb.Helper()
	o := a.get(path)
	if o == nil {
		return nil
	}
	for _, h := range o["webhooks"].([]any) {
		text, _ := h.(object)["clientConfig"].(object)["caBundle"].(string)
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			tb.Errorf("caBundle: %v", err)
		}
		bundles = append(bundles, string(b))
	}
	return bundles
}

func runWebhooks(tb testing.TB, a *api, l *logs, roots string) *Webhooks {
	tb.Helper()
	w, err := NewWebhooks(WebhooksOptions{Client: a.client(), Roots: []byte(roots), Logger: l.logger()})
	if err != nil {
		tb.Fatal(err)
	}
	background(tb, w.Run)
	return w
}

// TestWebhooksOfReplicasThatDoNotLead: a bundle by which the API server could not trust a replica is mended by every
// one of them, one that differs is the leader's to change.
func TestWebhooksOfReplicasThatDoNotLead(t *testing.T) {
	former, next, theirs := makeCA(t, certOptions{}).pem(), makeCA(t, certOptions{}).pem(), makeCA(t, certOptions{}).pem()
	both := string(former) + string(next)
	for _, tc := range []struct{ name, bundle, own, want, led string }{
		{"none", "", string(next), string(next), string(next)},
		{"of_another_mesh", string(theirs), string(next), string(next), string(next)},
		{"one_root_more", both, string(next), both, string(next)},
		{"one_root_less", string(former), both, string(former), both},
		{"no_certificate_at_all", "?", string(next), string(next), string(next)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l := newAPI(t), &logs{}
				a.put(injectorPath, registered(tc.bundle, tc.bundle))
				w := runWebhooks(t, a, l, tc.own)
				time.Sleep(time.Hour)
				if diff := cmp.Diff([]string{tc.want, tc.want}, bundlesAt(t, a, injectorPath)); diff != "" {
					t.Errorf("bundles (-want +got):\n%s", diff)
				}
				leave := background(t, w.Lead)
				time.Sleep(short)
				if diff := cmp.Diff([]string{tc.led, tc.led}, bundlesAt(t, a, injectorPath)); diff != "" {
					t.Errorf("bundles once it leads (-want +got):\n%s", diff)
				}
				leave()
				a.put(injectorPath, registered(both, both))
				time.Sleep(time.Hour)
				if diff := cmp.Diff([]string{both, both}, bundlesAt(t, a, injectorPath)); diff != "" {
					t.Errorf("bundles when it leads no more (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestWebhooksTrusted: a replica knows when the API server can call it.
func TestWebhooksTrusted(t *testing.T) {
	trusted := func(w *Webhooks) bool {
		select {
		case <-w.Trusted():
			return true
		default:
			return false
		}
	}
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(injectorPath, registered("", "one"))
		a.put(validatorPath, registered("one"))
		a.refuse(forbid("patch", "/fairlead-sidecar-injector"))
		w := runWebhooks(t, a, l, "one")
		time.Sleep(time.Minute)
		if trusted(w) {
			t.Error("trusted without a bundle")
		}
		a.refuse(nil)
		time.Sleep(lastRepair + short)
		if !trusted(w) {
			t.Error("not trusted with a bundle")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.refuse(away)
		w := runWebhooks(t, a, l, "one")
		time.Sleep(time.Minute)
		if trusted(w) {
			t.Error("trusted before the registrations were looked at")
		}
		a.refuse(nil)
		time.Sleep(maxPause + short)
		if !trusted(w) {
			t.Error("where there is no registration, nobody needs to trust it")
		}
	})
}

func TestWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(injectorPath, registered("", "former", "one"))
		a.put(injectorPath+"-of-somebody-else", registered(""))
		w := runWebhooks(t, a, l, "one")
		background(t, w.Lead)
		check := func(path string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, bundlesAt(t, a, path)); diff != "" {
				t.Errorf("bundles of %s (-want +got):\n%s", path, diff)
			}
		}
		time.Sleep(short)
		check(injectorPath, "one", "one", "one")
		check(injectorPath+"-of-somebody-else", "")
		check(validatorPath)

		a.put(validatorPath, registered(""))
		time.Sleep(short)
		check(validatorPath, "one")

		a.put(validatorPath, registered("theirs", ""))
		time.Sleep(2 * time.Second)
		check(validatorPath, "one", "one")

		w.SetRoots([]byte("two"))
		time.Sleep(short)
		check(injectorPath, "two", "two", "two")
		check(validatorPath, "two", "two")

		a.delete(injectorPath)
		time.Sleep(time.Hour)
		check(injectorPath)
		if lines := l.lines(); len(lines) != 5 || len(l.with("caBundle registered")) != 5 {
			t.Errorf("want one line per change, got %q", lines)
		}
		if n := a.count("patch", injectorPath) + a.count("patch", validatorPath); n != 5 {
			t.Errorf("%d patches, want 5", n)
		}
	})
}

func TestWebhooksWithoutPermission(t *testing.T) {
	for _, tc := range []struct{ name, verb, suffix, rule string }{
		{"to_list", "list", "/mutatingwebhookconfigurations", `resources: [mutatingwebhookconfigurations], resourceNames: [fairlead-sidecar-injector], verbs: [list]`},
		{"to_patch", "patch", "/fairlead-sidecar-injector", `resources: [mutatingwebhookconfigurations], resourceNames: [fairlead-sidecar-injector], verbs: [patch]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l := newAPI(t), &logs{}
				a.put(injectorPath, registered(""))
				a.refuse(forbid(tc.verb, tc.suffix))
				runWebhooks(t, a, l, "one")
				time.Sleep(10 * time.Minute)
				if lines := l.lines(); len(lines) != 1 || len(l.with(tc.rule)) != 1 {
					t.Errorf("want one line that names the rule, got %q", lines)
				}
				a.refuse(nil)
				time.Sleep(lastRepair + time.Second)
				if got := bundlesAt(t, a, injectorPath); !slices.Equal(got, []string{"one"}) {
					t.Errorf("bundles %q once it is allowed", got)
				}
			})
		})
	}
}

// TestBundlePatchHitsNoOtherWebhook covers a registration that changes between the look and the patch.
func TestBundlePatchHitsNoOtherWebhook(t *testing.T) {
	a := newAPI(t)
	w, err := NewWebhooks(WebhooksOptions{Client: a.client(), Roots: []byte("one"), Logger: (&logs{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	w.observe(mutatingWebhooks(), []hook{{name: "former.fairlead.dev"}})
	a.put(injectorPath, registered(""))
	wantError(t, w.write(t.Context(), mutatingWebhooks().name), "patch mutatingwebhookconfigurations fairlead-sidecar-injector: ")
	if got := bundlesAt(t, a, injectorPath); !slices.Equal(got, []string{""}) {
		t.Errorf("bundles %q were changed", got)
	}
}

func TestWebhooksNeedTheirOptions(t *testing.T) {
	_, err := NewWebhooks(WebhooksOptions{})
	wantError(t, err, "required")
}
