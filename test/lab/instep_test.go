package lab_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/observe"
)

// inStep waits until the control plane knows the endpoints of Services that the lab has written down: a pod that is ready may not be an
// endpoint yet, and a sidecar that asks before would be told of fewer. What the lab has written is read again each time, for a pod may end
// meanwhile.
func (m *mesh) inStep(t *testing.T) {
	t.Helper()
	lacks := "what the lab has written"
	defer func() {
		if t.Failed() {
			t.Logf("the control plane lacks %s", lacks)
		}
	}()
	eventually(t, "the control plane to know the endpoints of all Services", func() bool {
		ready, err := m.readyEndpoints()
		if errors.Is(err, fs.ErrNotExist) { // it is being replaced
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		for service, pods := range ready {
			known := m.knownEndpoints(t, service)
			if slices.ContainsFunc(pods, func(pod string) bool { return !slices.Contains(known, pod) }) {
				lacks = fmt.Sprintf("%v of %s, it has %v", pods, service, known)
				return false
			}
		}
		return true
	})
}

// readyEndpoints reads which pods the lab has behind each Service, "namespace/name". Those that are hidden from the mesh are not among them.
func (m *mesh) readyEndpoints() (map[string][]string, error) {
	out := map[string][]string{}
	generated := filepath.Join(m.StateDir(), "generated")
	paths, err := filepath.Glob(filepath.Join(generated, "EndpointSlice_*"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var slice discoveryv1.EndpointSlice
		if err := json.Unmarshal(raw, &slice); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		name := slice.Labels[discoveryv1.LabelServiceName]
		service, err := os.ReadFile(filepath.Join(generated, "Service_"+slice.Namespace+"_"+name+".json"))
		if err != nil { // slices are written first
			return nil, err
		}
		if bytes.Contains(service, []byte("networking.istio.io/exportTo")) {
			continue
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; *e.Conditions.Ready {
				out[slice.Namespace+"/"+name] = append(out[slice.Namespace+"/"+name], e.TargetRef.Name)
			}
		}
	}
	return out, nil
}

// knownEndpoints gives the pods that the control plane knows to be ready behind a Service.
func (m *mesh) knownEndpoints(t *testing.T, service string) (pods []string) {
	t.Helper()
	namespace, _, _ := strings.Cut(service, "/")
	a := m.controllerPage(t, observe.PathViews+observe.ViewConfig+"?namespace="+namespace)
	if a.StatusCode != http.StatusOK { // it has begun to listen, and reads its configuration for the first time
		return nil
	}
	var told observe.Config
	if err := json.Unmarshal([]byte(a.body), &told); err != nil {
		t.Fatalf("what the control plane has in force: %v: %s", err, a.body)
	}
	for i := range told.Services {
		if told.Services[i].ID != service {
			continue
		}
		for j := range told.Services[i].Endpoints {
			if e := &told.Services[i].Endpoints[j]; e.Health != "unhealthy" {
				pods = append(pods, e.Pod)
			}
		}
	}
	return pods
}
