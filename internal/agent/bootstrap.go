package agent

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Node is the app's pod.
type Node struct{ Pod, Namespace, IP, ClusterDomain string }

// Bootstrap gives the content of GRPC_XDS_BOOTSTRAP (gRFC A27; A29 for certificates, A36 for servers), as Istio's agent writes
// it. The app looks for a new certificate as often as refresh says.
func Bootstrap(n Node, f Files, refresh time.Duration) ([]byte, error) {
	file := func(name string) string { return filepath.Join(f.Certificates, name) }
	b := bootstrap(n, "unix://"+f.Socket)
	b["certificate_providers"] = object{"default": object{
		"plugin_name": "file_watcher",
		"config": object{
			"certificate_file": file(chainFile), "private_key_file": file(keyFile), "ca_certificate_file": file(rootsFile),
			"refresh_interval": fmt.Sprintf("%ds", refresh/time.Second),
		},
	}}
	return json.MarshalIndent(b, "", "  ")
}

// WriteSimple writes the bootstrap of an app that calls the control plane itself, without TLS, and has no certificate: what
// Istio's template grpc-simple gives. It is all that an agent does for such an app.
func WriteSimple(n Node, server, path string) error {
	raw, err := json.MarshalIndent(bootstrap(n, server), "", "  ")
	if err != nil {
		return err
	}
	return replace(path, raw)
}

type object = map[string]any

func bootstrap(n Node, server string) object {
	return object{
		"xds_servers": []any{object{
			"server_uri": server, "channel_creds": []any{object{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": object{
			"id":       fmt.Sprintf("sidecar~%s~%s.%s~%s.svc.%s", n.IP, n.Pod, n.Namespace, n.Namespace, n.ClusterDomain),
			"locality": object{"region": "unknown"}, // grpc-js refuses a node without; the control plane goes by the pod's own
			"metadata": object{"GENERATOR": "grpc"},
		},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
	}
}

// maxRefresh is how often a library looks for a new certificate, Istio's.
const maxRefresh = 15 * time.Minute

// refreshOf is how often it looks where certificates have so long a life: several times in the half of it that is left when there is
// a new one.
func refreshOf(life time.Duration) time.Duration {
	return max(time.Second, min(maxRefresh, life/8))
}
