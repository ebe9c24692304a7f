package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/lab"
)

// maxForwarded is how many connections a port-forward carries at a time; a browser makes about ten.
const maxForwarded = 128

// otherDashboard is a page of another program that shows the mesh.
type otherDashboard struct {
	name, title string
	// labels are those of its pods: as istioctl looks for them, then as other charts have them.
	labels []string
	port   uint16
}

func otherDashboards() []otherDashboard {
	return []otherDashboard{
		{"kiali", "Kiali", []string{"app=kiali", "app.kubernetes.io/name=kiali"}, 20001},
		{"prometheus", "Prometheus", []string{"app.kubernetes.io/name=prometheus", "app=prometheus"}, 9090},
		{"grafana", "Grafana", []string{"app.kubernetes.io/name=grafana", "app=grafana"}, 3000},
		{"jaeger", "Jaeger", []string{"app=jaeger", "app.kubernetes.io/name=jaeger"}, 16686},
		{"zipkin", "Zipkin", []string{"app=zipkin", "app.kubernetes.io/name=zipkin"}, 9411},
	}
}

// newOtherDashboards are the commands "fairlead dashboard kiali" and so on.
func newOtherDashboards(a *app) []*cobra.Command {
	all := otherDashboards()
	cmds := make([]*cobra.Command, len(all))
	for i := range all {
		cmds[i] = newOtherDashboard(a, &all[i])
	}
	return cmds
}

// newOtherDashboard has the flags of istioctl dashboard.
func newOtherDashboard(a *app, d *otherDashboard) *cobra.Command {
	var f otherFlags
	cmd := &cobra.Command{
		Use:   d.name,
		Short: fmt.Sprintf("Show %s, if it is installed, in a browser", d.title),
		Long: fmt.Sprintf("Show %s, if it is installed, in a browser: a port of this machine is forwarded to its pod, found by the label %s\n"+
			"in the namespace of -n, else in that of the control plane, else in any, until interrupted.", d.title, d.labels[0]),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			return f.show(cmd.Context(), a, d, m)
		},
	}
	flags := cmd.Flags()
	flags.Uint16VarP(&f.port, "port", "p", 0, fmt.Sprintf("port on this machine (default %d, or any that is free where it is taken)", d.port))
	flags.Uint16Var(&f.podPort, "ui-port", d.port, "port of the pod")
	flags.StringVar(&f.address, "address", "localhost", "address of this machine to listen on")
	flags.BoolVar(&f.browser, "browser", true, "open it in a browser; else print where it is only")
	a.addLabFlag(cmd)
	return cmd
}

// otherFlags are what the user said.
type otherFlags struct {
	port, podPort uint16
	address       string
	browser       bool
}

// show forwards to the dashboard until ctx ends.
func (f *otherFlags) show(ctx context.Context, a *app, d *otherDashboard, m *mesh) error {
	find := func(ctx context.Context) (place, error) { return d.find(ctx, a, m, f.podPort) }
	pod, err := find(ctx)
	if err != nil {
		return err
	}
	l, err := f.listen(ctx, d)
	if err != nil {
		return err
	}
	where := "http://" + l.Addr().String()
	if f.address == "localhost" {
		_, port, _ := net.SplitHostPort(l.Addr().String()) // which it has
		where = "http://localhost:" + port
	}
	fmt.Fprintf(a.Out, "%s is %s, %s; Ctrl-C ends it\n", where, d.title, pod.name)
	if f.browser {
		if err := openBrowser(ctx, where); err != nil {
			fmt.Fprintf(a.Err, "fairlead: no browser could be opened (%v): open %s yourself\n", err, where)
		}
	}
	forward{find: find, at: pod, complain: func(err error) { fmt.Fprintln(a.Err, "fairlead: "+err.Error()) }}.run(ctx, l)
	return context.Cause(ctx)
}

// listen takes the port that the user named, or the dashboard's own where it is free, or any.
func (f *otherFlags) listen(ctx context.Context, d *otherDashboard) (net.Listener, error) {
	var config net.ListenConfig
	on := func(port uint16) (net.Listener, error) {
		return config.Listen(ctx, "tcp", net.JoinHostPort(f.address, strconv.Itoa(int(port))))
	}
	if f.port != 0 {
		return on(f.port)
	}
	if l, err := on(d.port); err == nil {
		return l, nil
	}
	return on(0)
}

// find looks for a running pod of the dashboard: where the user says, else beside the control plane, else anywhere.
func (d *otherDashboard) find(ctx context.Context, a *app, m *mesh, port uint16) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	namespaces, in := []string{a.system, ""}, "in any namespace"
	if a.namespace != "" {
		namespaces, in = []string{a.namespace}, "in namespace "+a.namespace
	}
	for _, namespace := range namespaces {
		for _, label := range d.labels {
			pods, err := m.labelled(ctx, namespace, label, port)
			if err != nil && namespace == "" {
				err = fmt.Errorf("%w; say with -n where it is", err)
			}
			if err != nil {
				return place{}, fmt.Errorf("%s: %w", d.title, err)
			}
			if len(pods) > 0 {
				return pods[0], nil
			}
		}
	}
	return place{}, fmt.Errorf("no %s: no running pod %s has the label %s; install it, or say with -n where it is", d.title, in, strings.Join(d.labels, " or "))
}

// labelledInCluster is mesh.labelled of a cluster.
func labelledInCluster(c *cluster.Client) func(ctx context.Context, namespace, label string, port uint16) ([]place, error) {
	return func(ctx context.Context, namespace, label string, port uint16) ([]place, error) {
		pods, err := c.PodsWith(ctx, namespace, label)
		if err != nil {
			return nil, err
		}
		var places []place
		for i := range pods {
			if pods[i].Status.Phase == corev1.PodRunning && pods[i].DeletionTimestamp == nil {
				places = append(places, podPlace(c, "pod", &pods[i], port))
			}
		}
		return places, nil
	}
}

// labelledInLab is mesh.labelled of a lab.
func labelledInLab(c *lab.Client) func(ctx context.Context, namespace, label string, port uint16) ([]place, error) {
	return func(ctx context.Context, namespace, label string, port uint16) ([]place, error) {
		status, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		key, value, _ := strings.Cut(label, "=")
		var ready, others []place
		for i := range status.Pods {
			p := &status.Pods[i]
			if p.Labels[key] != value || p.Status != "Running" || namespace != "" && p.Namespace != namespace {
				continue
			}
			ref := lab.PodRef{Namespace: p.Namespace, Name: p.Name}
			found := place{
				name: fmt.Sprintf("pod %s/%s", p.Namespace, p.Name), id: p.Name + "." + p.Namespace,
				dial: func(ctx context.Context) (net.Conn, error) {
					return c.DialPod(ctx, ref, fmt.Sprintf("127.0.0.1:%d", port))
				},
			}
			if p.Ready {
				ready = append(ready, found)
			} else {
				others = append(others, found)
			}
		}
		return slices.Concat(ready, others), nil
	}
}

// forward carries connections of this machine to a port of a pod. One that cannot be made to the pod that was found first is
// made to another: pods are replaced.
type forward struct {
	find     func(context.Context) (place, error)
	at       place
	complain func(error)
}

// run serves until ctx ends, and returns when no connection is left.
func (f forward) run(ctx context.Context, l net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	turns := make(chan struct{}, maxForwarded)
	var mu sync.Mutex // guards f.at, and complains one at a time
	for {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				f.complain(err)
			}
			return
		}
		wg.Go(func() {
			defer func() { <-turns }()
			defer conn.Close()
			mu.Lock()
			pod := f.at
			mu.Unlock()
			up, err := pod.dial(ctx)
			if err != nil && ctx.Err() == nil {
				if pod, err = f.find(ctx); err == nil {
					mu.Lock()
					f.at = pod
					mu.Unlock()
					up, err = pod.dial(ctx)
				}
			}
			if err == nil {
				err = exchange(ctx, conn, up)
			}
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				f.complain(fmt.Errorf("%s: %w", pod.name, err))
			}
		})
	}
}

// exchange carries bytes both ways until both ends have said everything, or ctx ends.
func exchange(ctx context.Context, client, pod net.Conn) error {
	defer pod.Close()
	defer context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), pod.Close()) })()
	asked := make(chan struct{})
	go func() { // ends when the client says no more, at the latest when it is closed below
		defer close(asked)
		_, _ = io.Copy(pod, client)
		if half, ok := pod.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	n, err := io.Copy(client, pod)
	_ = client.Close()
	<-asked
	if n > 0 { // the page came; that the browser has left it is nobody's fault
		return nil
	}
	return err
}
