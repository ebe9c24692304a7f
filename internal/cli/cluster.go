package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/check"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
)

// adminPort is where a sidecar tells about itself, on its pod's loopback address only.
const adminPort = 15000

// pageTimeout bounds reading one page of a sidecar or of the control plane, and finding out where it is.
const pageTimeout = 10 * time.Second

// place is one process that has pages to read.
type place struct {
	// name is what errors call it.
	name string
	// id is "pod.namespace" of a sidecar, as the control plane knows it. Empty where only the lab knows the pod.
	id   string
	dial admin.Dialer
}

// readPage reads one page of a place; page is a method of [admin.Client].
func readPage[T any](ctx context.Context, p *place, page func(admin.Client, context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	value, err := page(admin.Client{Dial: p.dial}, ctx)
	if err != nil {
		return value, fmt.Errorf("%s: %w", p.name, err)
	}
	return value, nil
}

// mesh is where sidecars and control planes are found: a lab or a cluster.
type mesh struct {
	// kind is "lab" or "cluster", name what users call it, and command how commands that mean it begin.
	kind, name, command string
	// sidecar finds the sidecar of the pod that a user named.
	sidecar func(ctx context.Context, name string) (place, error)
	// controllers finds every replica of the control plane.
	controllers func(ctx context.Context) ([]place, error)
	// ending finds the pods that were told to end: those of a workload, or of the namespace at hand where name is empty.
	ending func(ctx context.Context, name string) ([]endingPod, error)
	// labelled finds a port of the running pods with a label, in one namespace, or in all where it is empty; ready ones first.
	labelled func(ctx context.Context, namespace, label string, port uint16) ([]place, error)
	// object reads a manifest, as YAML, with the user's rights.
	object func(ctx context.Context, o observe.ObjectName) (string, error)
	// token proves to the control plane who asks; nil where nobody needs to.
	token func(ctx context.Context) (string, error)
	// namespace is where a name without one belongs.
	namespace string
}

// addLabFlag adds the flag of commands that work in labs and clusters alike.
func (a *app) addLabFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().BoolVar(&a.inLab, "lab", false, "ask the lab, not a cluster")
}

// mesh chooses where to ask. What the user says decides; a user who says nothing means the lab while one is running,
// and else the current context of the kubeconfig, as kubectl would.
func (a *app) mesh(cmd *cobra.Command) (*mesh, error) {
	wantsLab := a.inLab || cmd.Flags().Changed("name") || cmd.Flags().Changed("state-dir")
	wantsCluster := a.kubeconfig != "" || a.context != ""
	if wantsLab && wantsCluster {
		return nil, errors.New("choose one: a lab (--lab, --name, --state-dir) or a cluster (--context, --kubeconfig)")
	}
	if !wantsCluster {
		c, err := a.lab()
		if err == nil {
			return a.labMesh(c), nil
		}
		if wantsLab || !errors.Is(err, lab.ErrNotRunning) {
			return nil, err
		}
	}
	c, err := a.cluster()
	if errors.Is(err, cluster.ErrNoCluster) && !wantsCluster {
		return nil, fmt.Errorf("nothing to ask: lab %q is not running, and there is %w; start a lab with %s, or name a cluster with --context or --kubeconfig", a.labName, err, lab.Command(a.labName, "up -f DIR"))
	}
	if err != nil {
		return nil, err
	}
	return a.clusterMesh(c), nil
}

// cluster reads the kubeconfig that the flags and the environment say.
func (a *app) cluster() (*cluster.Client, error) {
	return cluster.Load(cluster.Options{
		Kubeconfig: a.kubeconfig, Context: a.context, Namespace: a.namespace, Environ: a.Environ, UserAgent: "fairlead/" + a.Version,
	})
}

// commandOf is how a command line begins that means the same mesh.
func commandOf(flag, value, normal string) string {
	if value == normal {
		return "fairlead"
	}
	return "fairlead " + flag + " " + value
}

func (a *app) labMesh(c *lab.Client) *mesh {
	return &mesh{
		kind: "lab", name: fmt.Sprintf("lab %q", a.labName), command: commandOf("--name", a.labName, lab.DefaultName),
		namespace: a.inNamespace(),
		sidecar: func(_ context.Context, name string) (place, error) {
			ref, err := cluster.ParsePodRef(name, a.namespace, a.inNamespace())
			if err != nil {
				return place{}, err
			}
			pod, id := lab.PodRef{Namespace: ref.Namespace, Name: ref.Name}, ""
			switch ref.Kind {
			case "pods":
				id = ref.Name + "." + ref.Namespace
			case "deployments":
				pod.Name = "deploy/" + ref.Name
			case "statefulsets":
				pod.Name = "statefulset/" + ref.Name
			case "daemonsets":
				pod.Name = "daemonset/" + ref.Name
			case "jobs":
				pod.Name = "job/" + ref.Name
			default:
				return place{}, fmt.Errorf("%q: a lab knows pods, deploy/NAME, statefulset/NAME, daemonset/NAME and job/NAME; for a cluster add --context", name)
			}
			return place{
				name: fmt.Sprintf("sidecar of pod %s/%s in lab %q", pod.Namespace, pod.Name, a.labName), id: id,
				dial: func(ctx context.Context) (net.Conn, error) {
					return lab.DialSidecar(ctx, c, pod, adminPort)
				},
			}, nil
		},
		ending:   func(ctx context.Context, name string) ([]endingPod, error) { return a.endingInLab(ctx, c, name) },
		labelled: labelledInLab(c),
		object: func(_ context.Context, o observe.ObjectName) (string, error) {
			return c.Manifest(model.Ref{Kind: o.Kind, Key: model.Key{Namespace: o.Namespace, Name: o.Name}})
		},
		controllers: func(context.Context) ([]place, error) {
			return []place{{
				name: fmt.Sprintf("control plane of lab %q", a.labName),
				dial: func(ctx context.Context) (net.Conn, error) { return c.DialController(ctx, check.MonitorPort) },
			}}, nil
		},
	}
}

func (a *app) clusterMesh(c *cluster.Client) *mesh {
	return &mesh{
		kind: "cluster", name: c.Server(), command: commandOf("--context", a.context, ""),
		namespace: c.Namespace(),
		sidecar: func(ctx context.Context, name string) (place, error) {
			ctx, cancel := context.WithTimeout(ctx, pageTimeout)
			defer cancel()
			pod, err := a.meshedPod(ctx, c, name)
			if err != nil {
				return place{}, err
			}
			return podPlace(c, "sidecar of pod", pod, adminPort), nil
		},
		token:    func(ctx context.Context) (string, error) { return a.observerToken(ctx, c) },
		ending:   func(ctx context.Context, name string) ([]endingPod, error) { return a.endingInCluster(ctx, c, name) },
		labelled: labelledInCluster(c),
		object:   func(ctx context.Context, o observe.ObjectName) (string, error) { return objectInCluster(ctx, c, o) },
		controllers: func(ctx context.Context) ([]place, error) {
			ctx, cancel := context.WithTimeout(ctx, pageTimeout)
			defer cancel()
			pods, err := c.PodsOf(ctx, check.ControllerPods(a.system))
			if apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("no control plane in namespace %s of %s; install it with: fairlead install --set image.hub=REGISTRY/PATH --apply", a.system, c.Server())
			}
			if err != nil {
				return nil, fmt.Errorf("control plane: %w", err)
			}
			pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil })
			if len(pods) == 0 {
				return nil, fmt.Errorf("control plane: Deployment %s/%s has no running pod; fairlead check says why", a.system, check.Controller)
			}
			var places []place
			for i := range pods {
				places = append(places, podPlace(c, "control plane pod", &pods[i], check.MonitorPort))
			}
			return places, nil
		},
	}
}

// objectInCluster asks the API server for a manifest, and leaves out what nobody wrote.
func objectInCluster(ctx context.Context, c *cluster.Client, o observe.ObjectName) (string, error) {
	prefix := "/api/" + o.Version
	if o.Group != "" {
		prefix = "/apis/" + o.Group + "/" + o.Version
	}
	var manifest map[string]any
	if err := c.Get(ctx, cluster.Path(prefix, o.Namespace, o.Resource, o.Name), &manifest); err != nil {
		return "", err
	}
	delete(manifest, "status")
	if metadata, ok := manifest["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
		if annotations, ok := metadata["annotations"].(map[string]any); ok {
			delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		}
	}
	text, err := yaml.Marshal(manifest)
	return string(text), err
}

// meshedPod finds the pod that a user named and makes sure that it has a sidecar that can answer.
func (a *app) meshedPod(ctx context.Context, c *cluster.Client, name string) (*corev1.Pod, error) {
	ref, err := cluster.ParsePodRef(name, a.namespace, c.Namespace())
	if err != nil {
		return nil, err
	}
	pod, err := c.FindPod(ctx, ref)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%w in namespace %s of %s; another namespace is named with -n", err, ref.Namespace, c.Server())
	}
	if err != nil {
		return nil, err
	}
	switch {
	case !check.HasSidecar(pod):
		return nil, fmt.Errorf("pod %s/%s has no sidecar: opt its namespace in (kubectl label namespace %s fairlead.dev/inject=enabled) and restart it", pod.Namespace, pod.Name, pod.Namespace)
	case pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending: // a native sidecar runs while the pod is pending
		return nil, fmt.Errorf("pod %s/%s does not run: it is %s", pod.Namespace, pod.Name, pod.Status.Phase)
	}
	if trouble := check.SidecarTrouble(pod); trouble != "" {
		return nil, fmt.Errorf("the sidecar of pod %s/%s does not run: %s", pod.Namespace, pod.Name, trouble)
	}
	return pod, nil
}

// podPlace is a port of a pod in a cluster.
func podPlace(c *cluster.Client, what string, pod *corev1.Pod, port uint16) place {
	namespace, name := pod.Namespace, pod.Name
	return place{
		name: fmt.Sprintf("%s %s/%s", what, namespace, name), id: name + "." + namespace,
		dial: func(ctx context.Context) (net.Conn, error) { return c.DialPod(ctx, namespace, name, port) },
	}
}
