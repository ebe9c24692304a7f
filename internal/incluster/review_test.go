package incluster

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/ca"
)

// tokenWith makes something that reads like a token with these claims.
func tokenWith(tb testing.TB, claims object) string {
	tb.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		tb.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
}

// accepted is the answer for a good token of a pod.
func accepted() object {
	return object{
		"authenticated": true, "audiences": []any{"fairlead"},
		"user": object{
			"username": "system:serviceaccount:myapp:users", "uid": "sa-uid",
			"groups": []any{"system:serviceaccounts"},
			"extra": object{
				extraPodName: []any{"users-1"}, extraPodUID: []any{"pod-uid"}, extraNodeName: []any{"node-a"},
				"authentication.kubernetes.io/credential-id": []any{"JTI=1"},
			},
		},
	}
}

func TestReview(t *testing.T) {
	now := time.Now().Unix()
	good := tokenWith(t, object{"aud": []string{"fairlead"}, "exp": now + 3600, "nbf": now - 10})
	change := func(f func(answer, user object)) object {
		s := accepted()
		f(s, s["user"].(object))
		return s
	}
	refused := object{"error": "[invalid bearer token, detail]"}
	for _, tc := range []struct {
		name   string
		token  string
		answer object
		want   ca.Claims
		err    string
	}{
		{
			name: "a_pod", answer: accepted(),
			want: ca.Claims{
				Audience: []string{"fairlead"}, Namespace: "myapp", ServiceAccount: "users", ServiceAccountUID: "sa-uid",
				Pod: "users-1", PodUID: "pod-uid", Node: "node-a",
			},
		},
		{
			name: "a_server_that_names_no_node", answer: change(func(_, user object) { delete(user["extra"].(object), extraNodeName) }),
			want: ca.Claims{
				Audience: []string{"fairlead"}, Namespace: "myapp", ServiceAccount: "users", ServiceAccountUID: "sa-uid",
				Pod: "users-1", PodUID: "pod-uid",
			},
		},
		{name: "not_authenticated", answer: refused, err: "token: the API server does not accept it: [invalid bearer token, detail]"},
		{name: "not_authenticated_and_no_reason", answer: object{}, err: "token: the API server does not accept it"},
		{
			name: "from_the_future", answer: refused, token: tokenWith(t, object{"aud": "fairlead", "nbf": now + 3600}),
			err: ": check the clocks)",
		},
		{
			name: "expired", answer: refused, token: tokenWith(t, object{"aud": "fairlead", "exp": now - 3600}),
			err: "(it expired at ",
		},
		{
			name: "for_another_audience", answer: refused, token: tokenWith(t, object{"aud": []string{"vault", "https://kubernetes"}, "exp": now + 10}),
			err: `(it was made for "[vault https://kubernetes]", want audience "fairlead")`,
		},
		{name: "not_a_token", answer: refused, token: "hello", err: "(it is no JSON web token: 1 parts instead of 3)"},
		{name: "not_base64", answer: refused, token: "a.%.c", err: "(it is no JSON web token)"},
		{
			name: "a_server_that_ignores_audiences", answer: change(func(s, _ object) { delete(s, "audiences") }),
			err: `it is good for the audiences [], want "fairlead"`,
		},
		{
			name: "a_person", answer: change(func(_, user object) { user["username"] = "jane" }),
			err: `it belongs to user "jane", not to a service account`,
		},
		{
			name: "a_name_that_only_begins_like_a_service_account", answer: change(func(_, user object) { user["username"] = "system:serviceaccount:myapp" }),
			err: "not to a service account",
		},
		{
			name: "bound_to_no_pod", answer: change(func(_, user object) { delete(user, "extra") }),
			err: "it belongs to service account myapp/users, but to no pod",
		},
		{
			name: "bound_to_two_pods", answer: change(func(_, user object) { user["extra"].(object)[extraPodUID] = []any{"a", "b"} }),
			err: "but to no pod",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			token := tc.token
			if token == "" {
				token = good
			}
			a.review = func(spec object) object {
				want := object{"token": token, "audiences": []any{"fairlead"}}
				if diff := cmp.Diff(want, spec); diff != "" {
					t.Errorf("spec (-want +got):\n%s", diff)
				}
				return tc.answer
			}
			got, err := NewTokenReviewer(a.client()).Review(t.Context(), token)
			if tc.err != "" {
				wantError(t, err, tc.err)
				if _, ok := errors.AsType[*TemporaryError](err); ok {
					t.Errorf("refusal %v is temporary", err)
				}
				if strings.Contains(err.Error(), token) {
					t.Errorf("error contains the token: %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func wantError(tb testing.TB, err error, text string) {
	tb.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		tb.Errorf("error %v, want one that mentions %q", err, text)
	}
}

func TestReviewDoesNotAskAboutNonsense(t *testing.T) {
	r := NewTokenReviewer(newAPI(t).client()) // which would panic when asked
	_, err := r.Review(t.Context(), "")
	wantError(t, err, "the token is empty")
	_, err = r.Review(t.Context(), strings.Repeat("a", maxToken+1))
	wantError(t, err, "token of 16385 bytes: longer than 16384")
}

func TestReviewWithoutVerdictIsTemporary(t *testing.T) {
	for _, tc := range []struct {
		name   string
		refuse func(verb, path string) *status
		err    string
	}{
		{name: "away", refuse: away, err: "token review: create tokenreviews: API server not reached: connection refused"},
		{
			name: "not_allowed", refuse: forbid("create", "tokenreviews"),
			err: `lack {apiGroups: ["authentication.k8s.io"], resources: [tokenreviews], verbs: [create]}`,
		},
		{
			name: "broken", refuse: func(_, _ string) *status {
				return &status{http.StatusInternalServerError, "InternalError", "etcd is gone"}
			},
			err: "etcd is gone",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.refuse(tc.refuse)
			_, err := NewTokenReviewer(a.client()).Review(t.Context(), "a.b.c")
			wantError(t, err, tc.err)
			if _, ok := errors.AsType[*TemporaryError](err); !ok {
				t.Errorf("%v is not temporary", err)
			}
		})
	}
}

func TestReviewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		var under, most, slow, refused atomic.Int64
		a.refuse(func(_, _ string) *status { // runs without the lock
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(2 * time.Second)
			under.Add(-1)
			return &status{http.StatusInternalServerError, "InternalError", "slow"}
		})
		r := NewTokenReviewer(a.client())
		begun := time.Now()
		var wg sync.WaitGroup
		for range 5 * maxReviews {
			wg.Go(func() {
				_, err := r.Review(t.Context(), "a.b.c")
				if _, ok := errors.AsType[*TemporaryError](err); !ok {
					t.Errorf("%v is not temporary", err)
				}
				if strings.Contains(err.Error(), "others are under way") {
					refused.Add(1)
				} else {
					slow.Add(1)
				}
			})
		}
		wg.Wait()
		if most.Load() != maxReviews {
			t.Errorf("%d reviews at once, want %d", most.Load(), maxReviews)
		}
		if took := time.Since(begun); took > 7*time.Second {
			t.Errorf("took %s, want each to end after %s", took, reviewTimeout)
		}
		if slow.Load() != 3*maxReviews || refused.Load() != 2*maxReviews {
			t.Errorf("%d had their turn and %d had not, want %d and %d", slow.Load(), refused.Load(), 3*maxReviews, 2*maxReviews)
		}
	})
}
