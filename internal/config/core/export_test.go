package core

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

func TestFactsOfAService(t *testing.T) {
	in := read[corev1.Service](t, `
metadata: {name: users, namespace: myapp}
spec:
  clusterIP: 10.96.0.1
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}
  internalTrafficPolicy: Local
  trafficDistribution: PreferSameZone
  ports: [{name: http, port: 80, appProtocol: http}, {name: assoc, port: 142, protocol: SCTP}]
`)
	got, _ := Service(in, "cluster.local")
	want := model.ServiceFacts{
		Ports:           []model.PortFacts{{Name: "http", Protocol: "TCP", AppProtocol: "http", Port: 80}, {Name: "assoc", Protocol: "SCTP", Port: 142}},
		AffinityTimeout: 10, OnlySameNode: true, Distribution: "PreferSameZone",
	}
	if diff := cmp.Diff(want, got.Facts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
