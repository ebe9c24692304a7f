package incluster

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/observe"
)

func TestObservers(t *testing.T) {
	alice := object{"authenticated": true, "user": object{"username": "alice", "uid": "7", "groups": []any{"devs"}, "extra": object{"scopes": []any{"x"}}}}
	account := object{"authenticated": true, "audiences": []any{"observe.fairlead.dev"}, "user": object{"username": "system:serviceaccount:fairlead-system:fairlead-tap"}}
	nobody := object{"error": "[invalid bearer token]"}
	asked := func(resource, sub, verb, namespace string) object {
		a := object{"group": "observe.fairlead.dev", "resource": resource, "verb": verb}
		if sub != "" {
			a["subresource"] = sub
		}
		if namespace != "" {
			a["namespace"] = namespace
		}
		return a
	}
	tests := []struct {
		name string
		// own answers for the audience of observation, general for that of the API server.
		own, general object
		ask          observe.Permission
		attributes   object
		allowed      bool
		status       int // 0 for none
		want         string
	}{
		{
			name: "a_users_own_token", own: nobody, general: alice, ask: observe.Permission{Kind: observe.TapHeads, Namespace: "myapp"},
			attributes: asked("taps", "", "watch", "myapp"), allowed: true,
		},
		{
			name: "a_token_for_observation", own: account, ask: observe.Permission{Kind: observe.View},
			attributes: asked("edges", "", "get", ""), allowed: true,
		},
		{
			name: "may_not", own: nobody, general: alice, ask: observe.Permission{Kind: observe.TapHeads, Namespace: "myapp"},
			attributes: asked("taps", "", "watch", "myapp"), status: http.StatusForbidden,
			want: "alice may not watch taps.observe.fairlead.dev in namespace myapp; who administers the cluster can grant it: kubectl create rolebinding NAME -n myapp --clusterrole fairlead-tap --user alice",
		},
		{
			name: "may_not_see_secrets", own: account, ask: observe.Permission{Kind: observe.Secrets},
			attributes: asked("taps", "credentials", "watch", ""), status: http.StatusForbidden,
			want: "kubectl create clusterrolebinding NAME --clusterrole fairlead-tap-secrets --user system:serviceaccount:fairlead-system:fairlead-tap",
		},
		{
			name: "nobody", own: nobody, general: nobody, ask: observe.Permission{Kind: observe.View},
			status: http.StatusUnauthorized, want: "the API server does not accept the token: [invalid bearer token]",
		},
		{
			name: "a_server_that_knows_no_audiences_is_asked_in_general", own: alice, general: nobody, ask: observe.Permission{Kind: observe.View},
			status: http.StatusUnauthorized, want: "does not accept the token",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t)
			a.review = func(spec object) object {
				if spec["audiences"] != nil {
					return tt.own
				}
				return tt.general
			}
			a.access = func(spec object) object {
				if diff := cmp.Diff(tt.attributes, spec["resourceAttributes"]); diff != "" {
					t.Errorf("attributes (-want +got):\n%s", diff)
				}
				if spec["user"] == "alice" && !cmp.Equal(spec["groups"], any([]any{"devs"})) {
					t.Errorf("alice is asked about without her groups: %v", spec)
				}
				return object{"allowed": tt.allowed}
			}
			err := NewObservers(a.client()).Authorize(t.Context(), "a.secret.c", tt.ask)
			if tt.status == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refusal, ok := errors.AsType[*observe.RefusalError](err)
			if !ok || refusal.Status != tt.status || strings.Contains(refusal.Message, "secret.c") {
				t.Fatalf("Authorize() = %v, want status %d", err, tt.status)
			}
			wantError(t, err, tt.want)
		})
	}
}

func TestObserversWithoutVerdict(t *testing.T) {
	a := newAPI(t)
	o := NewObservers(a.client())
	err := o.Authorize(t.Context(), "", observe.Permission{Kind: observe.View})
	if refusal, ok := errors.AsType[*observe.RefusalError](err); !ok || refusal.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
	a.refuse(away)
	err = o.Authorize(t.Context(), "a.b.c", observe.Permission{Kind: observe.View})
	if refusal, ok := errors.AsType[*observe.RefusalError](err); !ok || refusal.Status != http.StatusServiceUnavailable {
		t.Errorf("without an API server: %v", err)
	}
}
