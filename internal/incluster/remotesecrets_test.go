package incluster

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRemoteSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		const at = "/api/v1/namespaces/fairlead-system/secrets/"
		secret := func(label string, data ...string) object {
			o := object{"metadata": object{"labels": object{RemoteSecretLabel: label}}, "data": object{}}
			for _, name := range data {
				o["data"].(object)[name] = base64.StdEncoding.EncodeToString([]byte("kubeconfig of " + name))
			}
			return o
		}
		a.put(at+"one", secret("true", "east", "north"))
		a.put(at+"fairlead-ca", secret("", "ca.key"))
		a.put("/api/v1/namespaces/myapp/secrets/other", secret("true", "stranger"))
		var mu sync.Mutex
		known, listed := map[string]string{}, 0
		r, err := NewRemoteSecrets(RemoteSecretsOptions{
			Client: a.client(), Namespace: "fairlead-system", Label: RemoteSecretLabel, Logger: l.logger(),
			Set: func(name string, said RemoteSecret) {
				mu.Lock()
				defer mu.Unlock()
				delete(known, name)
				if len(said.Clusters) > 0 {
					known[name] = strings.Join(slices.Sorted(maps.Keys(said.Clusters)), ",")
				}
			},
			Listed: func() { mu.Lock(); defer mu.Unlock(); listed++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		wants := func(when string, want map[string]string) {
			t.Helper()
			time.Sleep(time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, known); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		wants("at first", map[string]string{"one": "east,north"})
		if listed == 0 {
			t.Error("it does not say that it knows all")
		}
		a.put(at+"two", secret("true", "south"))
		a.put(at+"one", secret("true", "east"))
		wants("one more, and a cluster less", map[string]string{"one": "east", "two": "south"})
		a.refuse(away)
		wants("with the API server away", map[string]string{"one": "east", "two": "south"})
		a.refuse(nil)
		a.delete(at + "two")
		a.put(at+"one", secret("false", "east"))
		wants("one deleted, one without the label", map[string]string{})
		cancel()
		<-done
	})
}
