package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What the process that runs the tests is told.
const (
	manifestsVariable = "FAIRLEAD_XDS_MANIFESTS" // the directory that the control plane follows
	networkVariable   = "FAIRLEAD_XDS_NETWORK"   // "127.1.2", of which the addresses of this run are
)

// TestMain starts a control plane, and itself once more with a bootstrap that names it: grpc-go reads its own once, at the beginning.
func TestMain(m *testing.M) {
	if os.Getenv(manifestsVariable) != "" {
		os.Exit(m.Run())
	}
	code, err := withControlPlane()
	if err != nil {
		fmt.Fprintln(os.Stderr, "xds:", err)
		code = 1
	}
	os.Exit(code)
}

func withControlPlane() (code int, err error) {
	dir, err := os.MkdirTemp("", "fairlead-xds-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program, err := controller(dir)
	if err != nil {
		return 0, err
	}
	key, manifests := filepath.Join(dir, "token.pub"), filepath.Join(dir, "manifests")
	if err := writeKey(key); err != nil {
		return 0, err
	}
	if err := os.Mkdir(manifests, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(manifests, "here.yaml"), []byte(here), 0o600); err != nil {
		return 0, err
	}
	// Loopback addresses that no other process has by chance.
	pid := os.Getpid()
	network := fmt.Sprintf("127.%d.%d", 1+pid>>8&0x7f, pid&0xff)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	server := exec.Command(program, "-source", manifests, "-state-dir", filepath.Join(dir, "state"), "-token-key", key, "-listen", network+".1:15012",
		"-monitor", network+".1:15014", "-grpc-addr", network+".1:15010")
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		return 0, err
	}
	defer func() { server.Process.Kill(); server.Wait() }() //nolint:errcheck // it is killed
	if err := ready("http://" + network + ".1:15014/healthz/ready"); err != nil {
		said, _ := os.ReadFile(log.Name())
		return 0, fmt.Errorf("%w\n%s", err, said)
	}
	bootstrap := filepath.Join(dir, "bootstrap.json")
	if err := writeBootstrap(bootstrap, network+".1:15010"); err != nil {
		return 0, err
	}
	tests := exec.Command(os.Args[0], os.Args[1:]...)
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	tests.Env = append(os.Environ(), manifestsVariable+"="+manifests, networkVariable+"="+network, "GRPC_XDS_BOOTSTRAP="+bootstrap)
	err = tests.Run()
	if err != nil {
		if said, _ := os.ReadFile(log.Name()); len(said) > 0 {
			fmt.Printf("the control plane said:\n%s", said)
		}
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// controller gives the program of the control plane, which is built unless FAIRLEAD_CONTROLLER says where it is.
func controller(dir string) (string, error) {
	if path := os.Getenv("FAIRLEAD_CONTROLLER"); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, "fairlead-controller")
	build := exec.Command("go", "build", "-C", "../../..", "-o", path, "./cmd/fairlead-controller")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// writeKey writes the public half of a key by which nobody here proves anything, but without which the control plane does not start.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

// ready waits until the control plane is.
func ready(url string) error {
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get(url)
		if err != nil {
			last = err
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return last
}

// writeBootstrap writes what docs/reference/xds.md shows, and how a server asks for its listener.
func writeBootstrap(path, server string) error {
	raw, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": server, "channel_creds": []any{map[string]string{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{"id": "test", "locality": map[string]string{"region": "unknown"}, "metadata": map[string]string{"GENERATOR": "grpc"}},
		// Without a provider a library refuses each cluster with TLS. Nobody here uses its files, which are not there.
		"certificate_providers": map[string]any{"default": map[string]any{
			"plugin_name": "file_watcher",
			"config":      map[string]string{"certificate_file": "/none/cert.pem", "private_key_file": "/none/key.pem", "ca_certificate_file": "/none/ca.pem", "refresh_interval": "900s"},
		}},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}
