package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
)

// Linkerd's names.
const (
	mirrorSecretType   = "mirror.linkerd.io/remote-kubeconfig"
	mirrorSecretPrefix = "cluster-credentials-" //nolint:gosec // a name, no secret
	linkVersion        = "multicluster.linkerd.io/v1alpha3"
)

// linkGen is what the flags say of a Link, Linkerd's.
type linkGen struct {
	remoteSecret

	namespace, addresses, gatewayService, selector, discovery, federated, output string
	domain                                                                       string
	port, probePort                                                              uint16
	gateway                                                                      bool
	excludedAnnotations, excludedLabels                                          []string

	unasked string // why the other cluster will take the gateway for dead, if it will
}

// newLinkGenCommand is "fairlead multicluster link-gen".
func newLinkGenCommand(a *app) *cobra.Command {
	l := linkGen{remoteSecret: remoteSecret{authType: "bearer-token", kind: "remote", serverFlag: "--api-server-address"}}
	cmd := &cobra.Command{
		Use: "link-gen --cluster-name CLUSTER", Args: cobra.NoArgs,
		Short: "Print a Link and its credentials for another cluster: with them, Services of the cluster at hand are mirrored there",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.cluster()
			if err != nil {
				return err
			}
			text, err := l.print(cmd.Context(), c, a.system)
			if err != nil {
				return err
			}
			l.warnOfLoopback(a.Err)
			if l.unasked != "" {
				fmt.Fprintln(a.Err, l.unasked)
			}
			_, err = io.WriteString(a.Out, text)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&l.name, "cluster-name", "", "name of the cluster at hand: mirrors are called SERVICE-CLUSTER")
	flags.StringVar(&l.namespace, "link-namespace", "", "namespace of the other cluster's control plane (default that of this one's)")
	flags.StringVar(&l.server, "api-server-address", "", "URL of the API server at hand as the other cluster reaches it (default that of the kubeconfig)")
	flags.StringVar(&l.account, "service-account-name", readerAccount, "ServiceAccount in the system namespace that the other cluster reads as")
	flags.StringVar(&l.secret, "secret-name", "", "Secret with the account's token; made where it is not there (default ACCOUNT-remote-token)")
	flags.BoolVar(&l.gateway, "gateway", true, "name the gateway of the cluster at hand; without, its pods are called directly only")
	flags.StringVar(&l.gatewayService, "gateway-name", "fairlead-gateway", "Service of the gateway in the system namespace")
	flags.StringVar(&l.addresses, "gateway-addresses", "", "addresses or names of the gateway, with commas (default those of its Service; of one of type NodePort its pods' nodes, and their ports)")
	flags.Uint16Var(&l.port, "gateway-port", 15443, "port of the gateway")
	flags.Uint16Var(&l.probePort, "probe-port", 15021, "port at which the gateway says whether it is ready")
	flags.StringVar(&l.domain, "cluster-domain", "cluster.local", "domain of Services of the cluster at hand")
	flags.StringVarP(&l.selector, "selector", "l", "mirror.linkerd.io/exported=true", "labels of Services that are mirrored with the gateway as their endpoint")
	flags.StringVar(&l.discovery, "remote-discovery-selector", "mirror.linkerd.io/exported=remote-discovery", "labels of Services whose mirrors call pods directly")
	flags.StringVar(&l.federated, "federated-service-selector", "mirror.linkerd.io/federated=member", "labels of Services that are part of a union")
	flags.StringSliceVar(&l.excludedAnnotations, "excluded-annotations", nil, "annotations that mirrors do not take over; one that ends with a slash or an asterisk is a prefix")
	flags.StringSliceVar(&l.excludedLabels, "excluded-labels", nil, "labels that mirrors do not take over")
	addOutputFlag(flags, &l.output, "yaml", "json")
	_ = cmd.MarkFlagRequired("cluster-name")
	return cmd
}

// print gives the Secret and the Link.
func (l *linkGen) print(ctx context.Context, c *cluster.Client, system string) (string, error) {
	config, err := l.kubeconfig(ctx, c, system)
	if err != nil {
		return "", err
	}
	namespace := cmp.Or(l.namespace, system)
	spec := map[string]any{
		"targetClusterName": l.name, "targetClusterDomain": l.domain, "targetClusterLinkerdNamespace": system,
		"clusterCredentialsSecret": mirrorSecretPrefix + l.name,
	}
	for field, list := range map[string][]string{"excludedAnnotations": l.excludedAnnotations, "excludedLabels": l.excludedLabels} {
		if len(list) > 0 { // an API server takes no null for a list
			spec[field] = list
		}
	}
	for field, written := range map[string]string{"selector": l.selector, "remoteDiscoverySelector": l.discovery, "federatedServiceSelector": l.federated} {
		selector, err := metav1.ParseToLabelSelector(written)
		if err != nil {
			return "", fmt.Errorf("%s: %w", written, err)
		}
		spec[field] = selector
	}
	if l.gateway {
		g, err := l.gatewayAt(ctx, c, system)
		if err != nil {
			return "", err
		}
		spec["gatewayAddress"], spec["gatewayPort"] = strings.Join(g.addresses, ","), strconv.Itoa(int(g.port))
		spec["probeSpec"] = map[string]any{"path": "/healthz/ready", "port": strconv.Itoa(int(g.probe)), "period": "3s", "timeout": "30s", "failureThreshold": "3"}
	}
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": mirrorSecretType,
		"metadata": map[string]any{
			"name": mirrorSecretPrefix + l.name, "namespace": namespace, "labels": map[string]string{"multicluster.linkerd.io/cluster-name": l.name},
		},
		"stringData": map[string]string{"kubeconfig": config},
	}
	link := map[string]any{
		"apiVersion": linkVersion, "kind": "Link", "metadata": map[string]any{"name": l.name, "namespace": namespace}, "spec": spec,
	}
	if l.output == "json" {
		var out strings.Builder
		return out.String(), errors.Join(printValue(&out, "json", secret), printValue(&out, "json", link))
	}
	first, err := yaml.Marshal(secret)
	second, linkErr := yaml.Marshal(link)
	return string(first) + "---\n" + string(second), errors.Join(err, linkErr)
}

// gatewayAt is where other clusters find the gateway.
type gatewayAt struct {
	addresses   []string
	port, probe uint16
}

// gatewayAt gives the flags' word, else that of the gateway's Service. One of type NodePort without addresses of its own is called at
// the nodes of its pods, as by the sidecars of other networks.
func (l *linkGen) gatewayAt(ctx context.Context, c *cluster.Client, system string) (gatewayAt, error) {
	g := gatewayAt{port: l.port, probe: l.probePort}
	if l.addresses != "" {
		g.addresses = strings.Split(l.addresses, ",")
		return g, nil
	}
	var s corev1.Service
	err := c.Get(ctx, cluster.Path("/api/v1", system, "services", l.gatewayService), &s)
	if apierrors.IsNotFound(err) {
		return g, fmt.Errorf("no Service %s in namespace %s: install a gateway, name its addresses with --gateway-addresses, or do without one with --gateway=false", l.gatewayService, system)
	}
	if err != nil {
		return g, err
	}
	g.addresses = s.Spec.ExternalIPs
	for _, in := range s.Status.LoadBalancer.Ingress {
		g.addresses = append(g.addresses, cmp.Or(in.IP, in.Hostname))
	}
	switch {
	case len(g.addresses) > 0:
		if !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(l.probePort) }) {
			l.unasked = fmt.Sprintf("fairlead: the gateway %s/%s has no port %d, at which the Link has it be asked whether it is alive: "+
				"upgrade the mesh of this cluster, add a port that leads to 15022 of its pods, or say another one with --probe-port", system, l.gatewayService, l.probePort)
		}
		return g, nil
	case s.Spec.Type == corev1.ServiceTypeNodePort:
		return l.atNodes(ctx, c, &s)
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		return g, fmt.Errorf("the gateway %s/%s has no address yet: wait for its load balancer, or name addresses with --gateway-addresses", system, l.gatewayService)
	}
	return g, fmt.Errorf("the gateway %s/%s is of type %s and has no external address: name addresses with --gateway-addresses", system, l.gatewayService, s.Spec.Type)
}

// atNodes gives the nodes of the gateway's pods, with the ports that stand there for those of its Service.
func (l *linkGen) atNodes(ctx context.Context, c *cluster.Client, s *corev1.Service) (g gatewayAt, err error) {
	ports := make([]uint16, 0, 2)
	for _, port := range []uint16{l.port, l.probePort} {
		i := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(port) })
		if i < 0 || s.Spec.Ports[i].NodePort == 0 {
			return g, fmt.Errorf("the gateway %s/%s has no node port for %d: upgrade the mesh of this cluster, or say where it is with --gateway-addresses, --gateway-port and --probe-port", s.Namespace, s.Name, port)
		}
		ports = append(ports, uint16(s.Spec.Ports[i].NodePort))
	}
	g.port, g.probe = ports[0], ports[1]
	pods, err := c.PodsOf(ctx, cluster.PodRef{Kind: "services", Namespace: s.Namespace, Name: s.Name})
	if err != nil {
		return g, err
	}
	for i := range pods {
		if at := pods[i].Status.HostIP; at != "" && cluster.Ready(&pods[i]) {
			g.addresses = append(g.addresses, at)
		}
	}
	slices.Sort(g.addresses)
	if g.addresses = slices.Compact(g.addresses); len(g.addresses) == 0 {
		return g, fmt.Errorf("the gateway %s/%s has no pod that is ready: fairlead check says more", s.Namespace, s.Name)
	}
	return g, nil
}

// newUnlinkCommand is "fairlead multicluster unlink".
func newUnlinkCommand(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "unlink --cluster-name CLUSTER", Args: cobra.NoArgs,
		Short: "Print what link-gen printed, for kubectl delete -f -: mirrors go with the Link",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.Out, "apiVersion: %s\nkind: Link\nmetadata: {name: %s, namespace: %s}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\n",
				linkVersion, name, a.system, mirrorSecretPrefix+name, a.system)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "cluster-name", "", "name of the linked cluster")
	_ = cmd.MarkFlagRequired("cluster-name")
	return cmd
}

// newGatewaysCommand is "fairlead multicluster gateways".
func newGatewaysCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "gateways", Short: "Print the linked clusters: whether a gateway of them is alive, how many of their Services have mirrors", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows, err := readLinks(a, cmd)
			if err != nil {
				return err
			}
			if output != table {
				return printValue(a.Out, output, rows)
			}
			return printGateways(a.Out, a.Err, rows)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	a.addLabFlag(cmd)
	return cmd
}

// printGateways prints Linkerd's columns.
func printGateways(out, errOut io.Writer, rows []admin.LinkedCluster) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(errOut, "No links found.")
		return err
	}
	tw := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, "CLUSTER\tALIVE\tNUM_SVC\tLATENCY")
	for i := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\n", rows[i].ClusterName, aliveText(rows[i].Alive), rows[i].NumberOfServices, latencyText(rows[i].LatencyMS))
	}
	return tw.Flush()
}

func aliveText(alive *bool) string {
	switch {
	case alive == nil:
		return "-" // its pods are called directly
	case *alive:
		return "True"
	}
	return "False"
}

func latencyText(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.0fms", max(1, *ms))
}

// readLinks asks one replica, for all decide the same.
func readLinks(a *app, cmd *cobra.Command) ([]admin.LinkedCluster, error) {
	places, err := readable(a, cmd)
	if err != nil {
		return nil, err
	}
	return readOne(cmd.Context(), places, func(c admin.Client, ctx context.Context) ([]admin.LinkedCluster, error) { return c.Links(ctx) })
}

// readable are the replicas of the control plane.
func readable(a *app, cmd *cobra.Command) ([]place, error) {
	m, err := a.mesh(cmd)
	if err != nil {
		return nil, err
	}
	return m.controllers(cmd.Context())
}

// readOne is what the first replica says that answers.
func readOne[T any](ctx context.Context, places []place, ask func(admin.Client, context.Context) ([]T, error)) ([]T, error) {
	lists, err := readAll(ctx, places, ask)
	if len(lists) == 0 {
		return nil, err
	}
	return lists[0], nil
}

// newMulticlusterCheckCommand is "fairlead multicluster check".
func newMulticlusterCheckCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Say what is wrong with other clusters: how they are read, what they are called, gateways, what has no mirror", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var found linkFindings
			places, err := readable(a, cmd)
			if err != nil {
				return err
			}
			if found.links, err = readLinks(a, cmd); err != nil {
				return err
			}
			if found.problems, err = readOne(cmd.Context(), places, func(c admin.Client, ctx context.Context) ([]admin.Problem, error) { return c.Problems(ctx) }); err != nil {
				return err
			}
			if found.clusters, err = readClusters(cmd.Context(), places); err != nil {
				return err
			}
			return found.print(a.Out)
		},
	}
	a.addLabFlag(cmd)
	return cmd
}

// linkFindings are what "multicluster check" goes by.
type linkFindings struct {
	links    []admin.LinkedCluster
	clusters []admin.RemoteCluster
	problems []admin.Problem
}

// noEffect lists what is wrong with Links that do not count: those that were refused, are for the cluster of another one, or stand elsewhere.
func (f *linkFindings) noEffect() []string {
	var out []string
	for i := range f.problems {
		p := &f.problems[i]
		counts := func(l admin.LinkedCluster) bool { return l.Link == p.Object }
		if p.Kind != "Link" || slices.ContainsFunc(f.links, counts) {
			continue
		}
		said := []string{p.Kind + " " + p.Object, p.Field, p.Message}
		text := strings.Join(slices.DeleteFunc(said, func(s string) bool { return s == "" }), ": ")
		if p.Fix != "" {
			text += " (" + p.Fix + ")"
		}
		out = append(out, text)
	}
	return out
}

// print writes a line for each thing that is looked at. An error says that something is wrong.
func (f *linkFindings) print(out io.Writer) error {
	links, clusters, noEffect := f.links, f.clusters, f.noEffect()
	if len(links)+len(clusters)+len(noEffect) == 0 {
		_, err := fmt.Fprintln(out, "no other clusters")
		return err
	}
	wrong := 0
	line := func(ok bool, format string, args ...any) {
		mark := "√"
		if !ok {
			mark = "×"
			wrong++
		}
		fmt.Fprintf(out, "%s %s\n", mark, fmt.Sprintf(format, args...))
	}
	for i := range clusters {
		c := &clusters[i]
		line(c.SyncStatus == "synced" && c.Cause == "", "cluster %s of %s is read%s: %s%s", c.ID, c.SecretName, byReplica(c.Istiod), c.SyncStatus, because(c.Cause))
	}
	for i := range links {
		l := &links[i]
		for _, g := range l.Gateways {
			line(g.Alive, "gateway %s of cluster %s is alive%s", gatewayText(g.Address), l.ClusterName, because(g.Cause))
		}
		for _, s := range l.Unmirrored {
			line(false, "%s", s)
		}
		line(true, "%d Services of cluster %s have mirrors", l.NumberOfServices, l.ClusterName)
	}
	for _, text := range noEffect {
		line(false, "%s", text)
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("1 check failed")
	}
	return fmt.Errorf("%d checks failed", wrong)
}

func gatewayText(address string) string {
	if at, err := netip.ParseAddr(address); err == nil {
		return at.String()
	}
	return address
}

// byReplica names the replica that says so, where it is known.
func byReplica(replica string) string {
	if replica == "" {
		return ""
	}
	return " by " + replica
}

func because(cause string) string {
	if cause == "" {
		return ""
	}
	return ": " + cause
}
