package store_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// A version that cannot be used does not take the place of one that can; of those that cannot, the newest says why.
func TestBrokenCredentials(t *testing.T) {
	t.Parallel()
	at := ref("Secret", "myapp", "client")
	good, other := model.Credential{Ref: at, CA: "a"}, model.Credential{Ref: at, CA: "b"}
	one, two := model.Credential{Ref: at, Broken: "one"}, model.Credential{Ref: at, Broken: "two"}
	for _, tt := range []struct {
		name string
		set  []model.Credential
		want model.Credential
	}{
		{"from the beginning", []model.Credential{one, two}, two},
		{"mended", []model.Credential{one, good}, good},
		{"broken", []model.Credential{good, one}, good},
		{"replaced", []model.Credential{good, one, other, two}, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := store.New()
			for _, c := range tt.set {
				s.Commit(func(tx *store.Txn) { store.SetCredential(tx, c) })
			}
			if got := store.Get[model.Credential](store.NewReader(s.Snapshot()), at); got == nil || *got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}
