package lab_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const (
	mortalIP = "10.96.0.107"
	// mortalStreams is how many calls are under way at a time, and so the most that the death of a pod can meet.
	mortalStreams = 8
)

// unavailable is how gRPC is told of a call that was on the wire: the status, and why.
var unavailable = regexp.MustCompile(`^Grpc-Status 14: .*(connection termination|remote reset|middle of the response|connection failure)`)

// One of two pods is killed again and again while gRPC is called: the calls that were with it are UNAVAILABLE and say why,
// and no other one fails.
func TestDeathsUnderGRPC(t *testing.T) {
	t.Parallel()
	const label = "group: mortals"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "mortal", replicas: 1, labels: label}.String()+
		app{name: "steady", replicas: 1, labels: label}.String()+
		service("mortal", mortalIP, label, "{name: grpc, port: 90, targetPort: web}"))
	const victim = "deploy/mortal-v1"
	deaths := 3
	if long {
		deaths = 20
	}
	total, failed := 0, 0
	for death := 1; death <= deaths; death++ {
		end := m.load(t, client, "http://mortal:90"+demoapp.StreamMethod+"?count=2&interval=20ms", "--grpc",
			"--concurrency", strconv.Itoa(mortalStreams), "--for", "4s", "--timeout", "20s")
		eventually(t, "calls are with the pod", func() bool {
			return slices.ContainsFunc(m.dump(t, client).Endpoints, func(e admin.EndpointDump) bool {
				return e.Active > 0 && strings.HasPrefix(e.Workload, "mortal-")
			})
		})
		before := m.containerPID(t, victim, "app")
		m.kill(t, victim, "app")
		eventually(t, "another app in the pod", func() bool {
			now := m.containerPID(t, victim, "app")
			return now != 0 && now != before
		})
		r := end()
		total, failed = total+r.Requests, failed+r.Failed
		met := 0
		for text, n := range r.Errors {
			met += n
			if !unavailable.MatchString(text) {
				t.Errorf("death %d: %d calls failed with %q", death, n, text)
			}
		}
		if met != r.Failed || r.Failed > mortalStreams || r.OK < mortalStreams {
			t.Errorf("death %d: %d of %d failed, and at most %d were under way: %v %v", death, r.Failed, r.Requests, mortalStreams, r.Statuses, r.Errors)
		}
		m.settle(t)
	}
	t.Logf("%d deaths, %d calls, %d failed, all of them on the wire", deaths, total, failed)
}

// containerPID is the process of a container, 0 for none.
func (m *mesh) containerPID(t *testing.T, name, container string) int {
	t.Helper()
	for _, c := range m.find(t, name).Containers {
		if c.Name == container {
			return c.PID
		}
	}
	return 0
}
