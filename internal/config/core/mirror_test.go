package core

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// What a mirror is of is read from its labels and annotations, Linkerd's own included: a Service, or one pod of a headless Service.
func TestMirrorOf(t *testing.T) {
	gateway := map[string]string{model.MirroredLabel: "true", model.MirrorClusterLabel: "east"}
	pod := map[string]string{model.MirroredLabel: "true", model.MirrorClusterLabel: "east", model.MirroredHeadlessLabel: "db-east"}
	direct := map[string]string{model.RemoteDiscoveryKey: "east", model.RemoteServiceLabel: "db", model.MirroredHeadlessLabel: "db-east"}
	const host = "db.myapp.svc.other.example"
	for _, tt := range []struct {
		name     string
		labels   map[string]string
		full     string
		want     *model.MirrorOf
		problems int
	}{
		{"a Service by a gateway", gateway, host, &model.MirrorOf{Cluster: "east", ByGateway: true, Sources: []model.MirrorSource{{Cluster: "east", Name: "db", Host: host}}}, 0},
		{"a pod by a gateway", pod, "db-0." + host, &model.MirrorOf{Cluster: "east", ByGateway: true, Sources: []model.MirrorSource{{Cluster: "east", Name: "db", Host: host, Pod: "db-0"}}}, 0},
		{"a pod called directly", direct, "db-0." + host, &model.MirrorOf{Cluster: "east", Sources: []model.MirrorSource{{Cluster: "east", Name: "db", Host: "db.myapp.svc.cluster.local", Pod: "db-0"}}}, 0},
		{"a pod without the Service's name", pod, "db-0", nil, 0},
		{"a pod of another namespace", pod, "db-0.db.theirs.svc.other.example", nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "myapp", Labels: tt.labels, Annotations: map[string]string{model.MirroredName: tt.full}}}
			got, problems := Service(in, "cluster.local")
			if diff := cmp.Diff(tt.want, got.Mirror); diff != "" || len(problems) != tt.problems {
				t.Errorf("(-want +got)\n%s%v", diff, problems)
			}
		})
	}
}
