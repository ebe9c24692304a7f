package kube

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// TestStrippedObjectsMeanTheSame: what an object of an API server means is what the same manifest means.
func TestStrippedObjectsMeanTheSame(t *testing.T) {
	text, err := os.ReadFile("../../config/testdata/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests, problems := file.Decode("kinds.yaml", text)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	kinds := config.NewTable()
	for _, k := range followed() {
		t.Run(k.Name, func(t *testing.T) {
			i := slices.IndexFunc(manifests, func(o source.Object) bool { return o.Ref.Kind == k.Name })
			if i < 0 {
				t.Fatal("no object of the kind in testdata/kinds.yaml")
			}
			raw, err := json.Marshal(manifests[i].Value)
			if err != nil {
				t.Fatal(err)
			}
			at := config.Place{Ref: manifests[i].Ref, ClusterDomain: "cluster.local"}
			want := kinds.Translate(manifests[i].Value, at)
			decoded, err := decode(&k, apiserver.Raw{Text: raw})
			if err != nil {
				t.Fatal(err)
			}
			stripped, err := read(&k, decoded)
			if err != nil {
				t.Fatal(err)
			}
			got := kinds.Translate(stripped, at)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(config.Translation{}, "Commit"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("another meaning (-manifest +API server):\n%s", diff)
			}
			if (want.Commit == nil) != (got.Commit == nil) {
				t.Error("only one of the two is put in force")
			}
		})
	}
}
