package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/cni"
)

// serviceAccount is where Kubernetes mounts a pod's token and the API server's CA.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// installCNI parses the flags of `fairlead-proxy install-cni` and keeps the plugin on the node until ctx ends.
func installCNI(ctx context.Context, args []string) error {
	var o cni.InstallOptions
	fs := flag.NewFlagSet("install-cni", flag.ContinueOnError)
	fs.StringVar(&o.BinDir, "bin-dir", "/host/opt/cni/bin", "the runtime's `DIRECTORY` of plugins")
	fs.StringVar(&o.ConfDir, "conf-dir", "/host/etc/cni/net.d", "the runtime's `DIRECTORY` of network configurations")
	fs.StringVar(&o.HostConfDir, "host-conf-dir", "", "the same `DIRECTORY` as the runtime sees it (default: without the leading /host)")
	fs.StringVar(&o.ConfName, "conf-name", "", "`FILE` in it to edit (default: the one that the runtime uses)")
	fs.StringVar(&o.LogFile, "log-file", "", "`FILE` of the host that takes the plugin's log besides the runtime's")
	exclude := fs.String("exclude-namespaces", "kube-system", "`NAMESPACES` whose pods are left alone, comma-separated; POD_NAMESPACE is one of them")
	fs.StringVar(&o.APIServer, "api-server", "", "`URL` of the API server (default: from KUBERNETES_SERVICE_HOST)")
	fs.StringVar(&o.TokenFile, "token-file", serviceAccount+"token", "`FILE` with the service account's token")
	fs.StringVar(&o.CAFile, "ca-file", serviceAccount+"ca.crt", "PEM `FILE` with the API server's CA")
	fs.StringVar(&o.Listen, "monitor", ":15034", "`ADDRESS` of /healthz/ready and /healthz/live")
	repair := fs.String("repair", "delete", "what to do with pods that were started before the plugin was in place: delete, label or none")
	fs.StringVar(&o.Node, "node", os.Getenv("NODE_NAME"), "`NAME` of this node")
	fs.BoolVar(&o.Uninstall.OnExit, "cleanup", false, "take the plugin off the node at the end")
	fs.StringVar(&o.Uninstall.DaemonSet, "daemonset", "", "`NAME` of the DaemonSet of this pod; as long as it exists, --cleanup does nothing")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if o.Logger, _, err = logger(*level); err != nil {
		return err
	}
	if o.Repair, err = cni.ParseRepair(*repair); err != nil {
		return fmt.Errorf("--repair: %w", err)
	}
	if o.Executable, err = os.Executable(); err != nil {
		return err
	}
	if o.APIServer == "" {
		if o.APIServer, err = apiServer(os.Getenv); err != nil {
			return err
		}
	}
	o.Uninstall.Namespace = os.Getenv("POD_NAMESPACE")
	o.ExcludeNamespaces = namespaces(*exclude, o.Uninstall.Namespace)
	in, err := cni.NewInstaller(o)
	if err != nil {
		return err
	}
	return in.Run(ctx)
}

// apiServer is the address that Kubernetes gives to every pod.
func apiServer(getenv func(string) string) (string, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return "", fmt.Errorf("--api-server is not given, and KUBERNETES_SERVICE_HOST=%q KUBERNETES_SERVICE_PORT=%q are no address; "+
			"does this run in a pod?", host, port)
	}
	return "https://" + net.JoinHostPort(host, port), nil
}

// namespaces splits a flag and adds the installer's own: its pods must start without it.
func namespaces(list, own string) []string {
	out := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if own != "" {
		out = append(out, own)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
