package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/redirect"
)

func TestIsPlugin(t *testing.T) {
	for arg0, want := range map[string]bool{"/opt/cni/bin/fairlead-cni": true, "fairlead-cni": true, "/usr/bin/fairlead-proxy": false, "": false} {
		if got := isPlugin(arg0); got != want {
			t.Errorf("isPlugin(%q) = %t, want %t", arg0, got, want)
		}
	}
}

func TestVerifiedExitCode(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"redirected", nil, 0},
		{"not_redirected", fmt.Errorf("%w: connection refused", redirect.ErrNotRedirected), 126},
		{"cannot_tell", errors.New("no route"), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := verified(tt.err, io.Discard)
			got := 0
			if err != nil {
				got = exitCode(err)
			}
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("verified(%v) = %v, exit code %d, want %d", tt.err, err, got, tt.want)
			}
		})
	}
}

func TestAPIServer(t *testing.T) {
	env := func(host, port string) func(string) string {
		return func(key string) string {
			return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[key]
		}
	}
	if got, err := apiServer(env("fd00::1", "443")); err != nil || got != "https://[fd00::1]:443" {
		t.Errorf("apiServer() = %s, %v, want https://[fd00::1]:443", got, err)
	}
	if _, err := apiServer(env("", "")); err == nil || !strings.Contains(err.Error(), "--api-server is not given") {
		t.Errorf("apiServer() outside a pod = %v, want an error that names the flag", err)
	}
}

func TestNamespaces(t *testing.T) {
	if diff := cmp.Diff([]string{"a", "fairlead-system", "kube-system"}, namespaces("kube-system, a,kube-system", "fairlead-system")); diff != "" {
		t.Errorf("namespaces() (-want +got):\n%s", diff)
	}
	if got := namespaces("", ""); len(got) != 0 {
		t.Errorf("namespaces() = %v, want none", got)
	}
}
