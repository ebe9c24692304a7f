package inject

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Config is what an operator decides for all sidecars: key injector.yaml of the ConfigMap fairlead. Annotations of a
// pod go over it. Start from [DefaultConfig]; the zero value is not valid.
type Config struct {
	// Image is the sidecar's image, of fairlead-init and fairlead-proxy alike. Its entry point is fairlead-proxy. Required.
	Image           string            `json:"image"`
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// EnvoyImage is an image of a stock Envoy, for pods that want one as their sidecar; without it they are refused.
	EnvoyImage string `json:"envoyImage,omitempty"`
	// ImagePullSecrets are added to those of every pod. They must exist in its namespace.
	ImagePullSecrets []SecretName `json:"imagePullSecrets,omitempty"`
	// Controller is where the sidecar finds the control plane, host:port, several separated by commas.
	Controller string `json:"controller"`
	// ControllerName is the name that the control plane's certificate must hold.
	ControllerName string `json:"controllerName"`
	// NativeSidecar says whether the sidecar is an init container that keeps running (Kubernetes 1.29 and later).
	NativeSidecar Choice `json:"nativeSidecar"`
	// CNI says that a CNI plugin redirects the pod's traffic, so that no container needs CAP_NET_ADMIN.
	CNI      bool   `json:"cni"`
	LogLevel string `json:"logLevel"`
	// Drain is how long connections may go on once the sidecar is told to end.
	Drain metav1.Duration `json:"drain"`
	// HoldTimeout is how long, without native sidecars, the containers of the app wait for the sidecar.
	HoldTimeout metav1.Duration             `json:"holdTimeout"`
	Resources   corev1.ResourceRequirements `json:"resources"`
	// What is captured, in the form of the flags of `fairlead-proxy init`.
	IncludeOutboundCIDRs string `json:"includeOutboundCIDRs"`
	ExcludeOutboundCIDRs string `json:"excludeOutboundCIDRs"`
	ExcludeInboundPorts  string `json:"excludeInboundPorts"`
	ExcludeOutboundPorts string `json:"excludeOutboundPorts"`
	CaptureDNS           bool   `json:"captureDNS"`
	// MergeMetrics has Prometheus' annotations on pods point at the sidecar, which shows the app's metrics behind its own.
	MergeMetrics bool `json:"mergeMetrics"`
	// HoldAppEnd has the kubelet tell apps to end once no caller chooses them any more.
	HoldAppEnd bool `json:"holdAppEnd"`
	// IstioStatus writes the annotation by which Kiali tells pods with a sidecar.
	IstioStatus bool `json:"istioStatus"`
}

// Choice is a yes, a no, or what the cluster can do. The zero value is [Auto].
type Choice string

// The choices.
const (
	Auto Choice = "auto"
	Yes  Choice = "true"
	No   Choice = "false"
)

// UnmarshalJSON takes true, false and "auto", "true", "false".
func (c *Choice) UnmarshalJSON(data []byte) error {
	switch word := Choice(strings.Trim(string(data), `"`)); word {
	case Auto, Yes, No:
		*c = word
		return nil
	}
	return fmt.Errorf("%s is none of auto, true and false", data)
}

// SecretName is the name of a Secret, written as it is or, as in a Pod, as {name: …}.
type SecretName string

// UnmarshalJSON takes both forms.
func (s *SecretName) UnmarshalJSON(data []byte) error {
	var ref struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(data, &ref.Name); err == nil {
		*s = SecretName(ref.Name)
		return nil
	}
	if err := strict(data, &ref); err != nil {
		return fmt.Errorf("%s is no name of a Secret; write `- name: NAME`", data)
	}
	*s = SecretName(ref.Name)
	return nil
}

// DefaultConfig is the configuration of an operator who decided nothing but where the image is: Image is empty, for only
// the operator knows, and [ParseConfig] refuses what leaves it so.
func DefaultConfig() Config {
	return Config{
		Controller:     "fairlead-controller.fairlead-system.svc:15012",
		ControllerName: "fairlead-controller.fairlead-system.svc",
		NativeSidecar:  Auto,
		LogLevel:       "info",
		Drain:          metav1.Duration{Duration: 5 * time.Second},
		HoldTimeout:    metav1.Duration{Duration: time.Minute},
		// As the chart has them. Measured in a cluster: 11 to 13 MiB resident after some thousand calls, 5 of them its own.
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("16Mi"),
		}},
		IncludeOutboundCIDRs: "*",
		CaptureDNS:           true,
		MergeMetrics:         true,
		HoldAppEnd:           true,
		IstioStatus:          true,
	}
}

// ParseConfig reads data, YAML, over base. The error has one line for each field that is wrong.
func ParseConfig(data []byte, base Config) (Config, error) {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return Config{}, fmt.Errorf("no valid YAML: %w", err)
	}
	var written map[string]json.RawMessage
	if err := json.Unmarshal(text, &written); err != nil {
		return Config{}, errors.New("the configuration is no mapping; write `image: …` and so on")
	}
	c := base
	fields := c.fields()
	names := slices.Sorted(maps.Keys(fields))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(written)) {
		into, known := fields[name]
		if !known {
			errs = append(errs, fmt.Errorf("%s: unknown field%s", name, didYouMean(name, names)))
			continue
		}
		if name == "resources" {
			c.Resources = corev1.ResourceRequirements{} // what is written replaces the default, it is not mixed with it
		}
		if err := strict(written[name], into); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", name, explain(into, written[name], err)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// fields gives what each field of the YAML is read into.
func (c *Config) fields() map[string]any {
	return map[string]any{
		"image": &c.Image, "envoyImage": &c.EnvoyImage, "imagePullPolicy": &c.ImagePullPolicy, "imagePullSecrets": &c.ImagePullSecrets,
		"controller": &c.Controller, "controllerName": &c.ControllerName, "nativeSidecar": &c.NativeSidecar, "cni": &c.CNI,
		"logLevel": &c.LogLevel, "drain": &c.Drain, "holdTimeout": &c.HoldTimeout, "resources": &c.Resources,
		"includeOutboundCIDRs": &c.IncludeOutboundCIDRs, "excludeOutboundCIDRs": &c.ExcludeOutboundCIDRs,
		"excludeInboundPorts": &c.ExcludeInboundPorts, "excludeOutboundPorts": &c.ExcludeOutboundPorts,
		"captureDNS": &c.CaptureDNS, "mergeMetrics": &c.MergeMetrics, "holdAppEnd": &c.HoldAppEnd, "istioStatus": &c.IstioStatus,
	}
}

// strict decodes one JSON value without unknown fields.
func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// explain says what a decoding error means in terms of the YAML that was written.
func explain(into any, written []byte, err error) string {
	switch into.(type) {
	case *metav1.Duration:
		return fmt.Sprintf("%s is no duration; write 5s or 1m30s", written)
	case *corev1.ResourceRequirements:
		if errors.Is(err, resource.ErrFormatWrong) || errors.Is(err, resource.ErrNumeric) || errors.Is(err, resource.ErrSuffix) {
			return "holds what is no amount; write 100m or 0.1 for cpu, 64Mi for memory"
		}
	}
	return mistyped(err)
}

// mistyped says what a value of the wrong type means in terms of the YAML that was written.
func mistyped(err error) string {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	expected := map[string]string{
		"bool": "true or false", "string": "a string", "slice": "a list", "int32": "a number", "int64": "a number",
	}[wrong.Type.Kind().String()]
	at := wrong.Field
	if at != "" {
		at += ": "
	}
	return fmt.Sprintf("%sa value of type %s stands here, expected %s", at, wrong.Value, cmp.Or(expected, "a mapping"))
}

// validate checks the values of c and writes them in one way. The error has one line for each that is wrong.
func (c *Config) validate() error {
	var errs []error
	check := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	_, err := parseImage(c.Image)
	if c.Image == "" {
		err = errors.New("is not set; write REGISTRY/NAME:TAG, where the sidecar's image is (fairlead inject --set image=…)")
	}
	check("image", err)
	if c.EnvoyImage != "" {
		_, err = parseImage(c.EnvoyImage)
		check("envoyImage", err)
	}
	switch c.ImagePullPolicy {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		check("imagePullPolicy", fmt.Errorf("%q is none of Always, IfNotPresent and Never", c.ImagePullPolicy))
	}
	if slices.Contains(c.ImagePullSecrets, "") {
		check("imagePullSecrets", errors.New("a name is empty"))
	}
	check("controller", checkAddresses(c.Controller))
	if c.ControllerName == "" {
		check("controllerName", errors.New("is empty; write the DNS name in the control plane's certificate"))
	}
	c.LogLevel, err = parseLogLevel(c.LogLevel)
	check("logLevel", err)
	if c.Drain.Duration < 0 {
		check("drain", fmt.Errorf("%s is negative", c.Drain.Duration))
	}
	if c.HoldTimeout.Duration <= 0 {
		check("holdTimeout", fmt.Errorf("%s is not positive", c.HoldTimeout.Duration))
	}
	check("resources", checkResources(c.Resources))
	c.IncludeOutboundCIDRs, err = parseCIDRs(c.IncludeOutboundCIDRs)
	check("includeOutboundCIDRs", err)
	c.ExcludeOutboundCIDRs, err = parseExcluded(parseCIDRs, c.ExcludeOutboundCIDRs)
	check("excludeOutboundCIDRs", err)
	c.ExcludeInboundPorts, err = parseExcluded(parsePorts, c.ExcludeInboundPorts)
	check("excludeInboundPorts", err)
	c.ExcludeOutboundPorts, err = parseExcluded(parsePorts, c.ExcludeOutboundPorts)
	check("excludeOutboundPorts", err)
	return errors.Join(errs...)
}

func checkAddresses(list string) error {
	for address := range strings.SplitSeq(list, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(address))
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || host == "" {
			return fmt.Errorf("%q is no address; write HOST:PORT", address)
		}
	}
	return nil
}

// checkResources refuses what the API server would refuse for every pod: a request above its limit, a negative amount.
func checkResources(r corev1.ResourceRequirements) error {
	for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if q := list[name]; q.Sign() < 0 {
				return fmt.Errorf("%s %s is negative", name, q.String())
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		if limit, ok := r.Limits[name]; ok && request.Cmp(limit) > 0 {
			return fmt.Errorf("the %s request %s is above the limit %s", name, request.String(), limit.String())
		}
	}
	return nil
}
