package inject

// istioContainer is what Istio calls its sidecar.
const istioContainer = "istio-proxy"

// statusForIstio is the annotation sidecar.istio.io/status (istio pkg/kube/inject, SidecarInjectionStatus), as far as
// tools read it.
type statusForIstio struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

// tellTools writes the annotation by which Kiali tells a pod with a sidecar. It counts containers that are named there,
// and of init containers only one with Istio's own name (kiali models/pod.go), so the sidecar is listed among the
// containers where it is a native one too, and so is that name.
func (b *builder) tellTools() error {
	if !b.s.IstioStatus {
		return nil
	}
	written, err := compact(statusForIstio{
		InitContainers: b.status.InitContainers, Containers: []string{proxyContainer, istioContainer},
		Volumes: b.status.Volumes, ImagePullSecrets: b.status.ImagePullSecrets, Revision: "default",
	})
	if err != nil {
		return err
	}
	if _, ok := b.pod.Annotations[istioStatus]; ok {
		b.keep(istioStatus)
	}
	b.annotate(istioStatus, written)
	b.status.Annotations = append(b.status.Annotations, istioStatus)
	return nil
}
