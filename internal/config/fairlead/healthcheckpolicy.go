package fairlead

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
)

// HealthCheckPolicy is the object.
type HealthCheckPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   HealthCheckPolicySpec  `json:"spec"`
	Status gatewayv1.PolicyStatus `json:"status"`
}

// HealthCheckPolicySpec says what is checked, and how. Exactly one of HTTP, TCP and GRPC is set.
type HealthCheckPolicySpec struct {
	TargetRefs []gatewayv1.LocalPolicyTargetReference `json:"targetRefs"`

	HTTP *HTTPCheck `json:"http,omitempty"`
	TCP  *TCPCheck  `json:"tcp,omitempty"`
	GRPC *GRPCCheck `json:"grpc,omitempty"`

	// Port is that of the endpoint.
	Port               *int32              `json:"port,omitempty"`
	Interval           *gatewayv1.Duration `json:"interval,omitempty"`
	Timeout            *gatewayv1.Duration `json:"timeout,omitempty"`
	HealthyThreshold   *int32              `json:"healthyThreshold,omitempty"`
	UnhealthyThreshold *int32              `json:"unhealthyThreshold,omitempty"`
}

// HTTPCheck asks for a page.
type HTTPCheck struct {
	Path             string       `json:"path,omitempty"`
	Host             string       `json:"host,omitempty"`
	Headers          []HTTPHeader `json:"headers,omitempty"`
	ExpectedStatuses []int32      `json:"expectedStatuses,omitempty"`
}

// HTTPHeader is a field of the request.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPCheck opens a connection.
type TCPCheck struct {
	Send    string `json:"send,omitempty"`
	Receive string `json:"receive,omitempty"`
}

// GRPCCheck asks the health service of gRPC.
type GRPCCheck struct {
	Service string `json:"service,omitempty"`
}

// The values of what is not said: the kubelet's, for its probes are what a check is like.
const (
	defaultInterval  = 10 * time.Second
	defaultTimeout   = time.Second
	defaultHealthy   = 1
	defaultUnhealthy = 3
)

// What a check may ask for. A shorter interval would have the check be a load; a policy's name becomes a part of the type
// of a condition of pods, which has 63 characters.
const (
	minInterval, maxInterval = 500 * time.Millisecond, time.Hour
	minTimeout               = 50 * time.Millisecond
	mostThreshold            = 100
	mostTargets              = 16
	mostHeaders              = 16
	mostText                 = 1024
	mostName                 = 63
)

// Read gives what a HealthCheckPolicy means.
func Read(in *HealthCheckPolicy) (*model.HealthCheckPolicy, []model.Problem) {
	key := model.Key{Namespace: cmp.Or(in.Namespace, metav1.NamespaceDefault), Name: in.Name}
	p := &policy{model.Report{Ref: model.Ref{Kind: "HealthCheckPolicy", Key: key}}}
	out := &model.HealthCheckPolicy{Ref: p.Ref, CreatedAt: in.CreationTimestamp.Time, Targets: p.targets(in.Spec.TargetRefs)}
	if len(in.Name) > mostName {
		p.Reject("metadata.name", fmt.Sprintf("%q has %d characters", in.Name, len(in.Name)), fmt.Sprintf("at most %d", mostName))
	}
	out.Check = p.check(&in.Spec)
	if p.Rejected() {
		return nil, p.Problems
	}
	return out, p.Problems
}

// policy reads the parts of a HealthCheckPolicy.
type policy struct{ model.Report }

// TargetField is the path of a reference in a policy.
func TargetField(i int) string { return fmt.Sprintf("spec.targetRefs[%d]", i) }

// targetKinds are the kinds that a policy may be attached to, by group.
func targetKinds() map[gatewayv1.Group]gatewayv1.Kind {
	return map[gatewayv1.Group]gatewayv1.Kind{"": "Service", "networking.istio.io": "ServiceEntry"}
}

func (p *policy) targets(in []gatewayv1.LocalPolicyTargetReference) []model.PolicyTarget {
	switch {
	case len(in) == 0:
		p.Reject("spec.targetRefs", "no target", `name a Service: {group: "", kind: Service, name: …}`)
	case len(in) > mostTargets:
		p.Reject("spec.targetRefs", fmt.Sprintf("%d targets", len(in)), fmt.Sprintf("at most %d", mostTargets))
		return nil
	}
	out := make([]model.PolicyTarget, 0, len(in))
	seen := make(map[model.Ref]int, len(in))
	for i, t := range in {
		field := TargetField(i)
		ref := model.Ref{Kind: string(t.Kind), Key: model.Key{Namespace: p.Ref.Namespace, Name: string(t.Name)}}
		switch first, again := seen[ref]; {
		case targetKinds()[t.Group] != t.Kind || t.Kind == "":
			p.Reject(field, fmt.Sprintf("group %q, kind %q cannot be checked", t.Group, t.Kind),
				`group: "", kind: Service, or group: networking.istio.io, kind: ServiceEntry`)
		case t.Name == "":
			p.Reject(field+".name", "no name", "name the "+string(t.Kind))
		case again:
			p.Reject(field, fmt.Sprintf("%s is %s already", ref, TargetField(first)), "name it once")
		default:
			seen[ref] = i
			out = append(out, model.PolicyTarget{Ref: ref, Field: field})
		}
	}
	return out
}

func (p *policy) check(in *HealthCheckPolicySpec) model.HealthCheck {
	out := model.HealthCheck{
		Interval: p.duration("spec.interval", in.Interval, defaultInterval), Timeout: p.duration("spec.timeout", in.Timeout, defaultTimeout),
		HealthyThreshold:   p.threshold("spec.healthyThreshold", in.HealthyThreshold, defaultHealthy),
		UnhealthyThreshold: p.threshold("spec.unhealthyThreshold", in.UnhealthyThreshold, defaultUnhealthy),
	}
	p.times(&out, in)
	if in.Port != nil {
		if *in.Port < 1 || *in.Port > 65535 {
			p.Reject("spec.port", fmt.Sprintf("%d is not a port", *in.Port), "1 to 65535, the port that the app listens on")
		}
		out.Port = uint16(*in.Port)
	}
	forms := 0
	if in.HTTP != nil {
		forms++
		out.HTTP = p.http(in.HTTP)
	}
	if in.TCP != nil {
		forms++
		out.TCP = p.tcp(in.TCP)
	}
	if in.GRPC != nil {
		forms++
		p.text("spec.grpc.service", in.GRPC.Service)
		out.GRPC = &model.GRPCCheck{Service: in.GRPC.Service}
	}
	if forms != 1 {
		p.Reject("spec", fmt.Sprintf("%d of http, tcp and grpc are given", forms), "give exactly one, such as http: {path: /healthz}")
	}
	return out
}

func (p *policy) times(c *model.HealthCheck, in *HealthCheckPolicySpec) {
	switch {
	case c.Interval == 0 || c.Timeout == 0: // said already
	case c.Interval < minInterval || c.Interval > maxInterval:
		p.Reject("spec.interval", fmt.Sprintf("%s is out of range", c.Interval), fmt.Sprintf("%s to %s", minInterval, maxInterval))
	case c.Timeout < minTimeout:
		p.Reject("spec.timeout", fmt.Sprintf("%s is too short", c.Timeout), fmt.Sprintf("at least %s", minTimeout))
	case c.Timeout > c.Interval && in.Timeout == nil:
		c.Timeout = c.Interval
	case c.Timeout > c.Interval:
		p.Reject("spec.timeout", fmt.Sprintf("%s is longer than the interval, %s", c.Timeout, c.Interval), "write a longer interval, or a shorter timeout")
	}
}

// durationForm is GEP-2257: up to four numbers with units.
var durationForm = regexp.MustCompile(`^(\d{1,5}(h|m|s|ms)){1,4}$`)

// duration gives 0 where what is written is refused.
func (p *policy) duration(field string, in *gatewayv1.Duration, otherwise time.Duration) time.Duration {
	if in == nil {
		return otherwise
	}
	d, err := time.ParseDuration(string(*in))
	if err != nil || d == 0 || !durationForm.MatchString(string(*in)) {
		p.Reject(field, fmt.Sprintf("%q is not a duration", *in), `write it like "10s" or "500ms"`)
		return 0
	}
	return d
}

func (p *policy) threshold(field string, in *int32, otherwise uint32) uint32 {
	switch {
	case in == nil:
		return otherwise
	case *in < 1 || *in > mostThreshold:
		p.Reject(field, fmt.Sprintf("%d is out of range", *in), fmt.Sprintf("1 to %d", mostThreshold))
		return 0
	}
	return uint32(*in)
}

func (p *policy) text(field, value string) {
	if len(value) > mostText {
		p.Reject(field, fmt.Sprintf("%d bytes are too many", len(value)), fmt.Sprintf("at most %d", mostText))
	}
}

// fieldName is a token (RFC 9110 5.6.2).
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (p *policy) http(in *HTTPCheck) *model.HTTPCheck {
	out := &model.HTTPCheck{Path: cmp.Or(in.Path, "/"), Host: in.Host}
	p.text("spec.http.path", in.Path)
	p.text("spec.http.host", in.Host)
	if !strings.HasPrefix(out.Path, "/") || strings.ContainsFunc(out.Path, isControl) {
		p.Reject("spec.http.path", fmt.Sprintf("%q is not a path", in.Path), "it begins with / and has no blanks")
	}
	if strings.ContainsFunc(in.Host, isControl) {
		p.Reject("spec.http.host", fmt.Sprintf("%q is not a host", in.Host), "")
	}
	if len(in.Headers) > mostHeaders {
		p.Reject("spec.http.headers", fmt.Sprintf("%d headers are too many", len(in.Headers)), fmt.Sprintf("at most %d", mostHeaders))
		return out
	}
	for i, h := range in.Headers {
		field := fmt.Sprintf("spec.http.headers[%d]", i)
		p.text(field+".value", h.Value)
		switch {
		case !fieldName.MatchString(h.Name) || len(h.Name) > mostText:
			p.Reject(field+".name", fmt.Sprintf("%q is not a header name", h.Name), "")
		case strings.EqualFold(h.Name, "host"):
			p.Reject(field+".name", "the Host header is a field of its own", "write http.host")
		case model.ReservedHeader(h.Name):
			p.Reject(field+".name", fmt.Sprintf("%q is the connection's own", h.Name), "remove it")
		case strings.ContainsAny(h.Value, "\r\n\x00"):
			p.Reject(field+".value", "a header value has one line", "")
		}
		out.Headers = append(out.Headers, model.HeaderValue{Name: h.Name, Value: h.Value})
	}
	for i, s := range in.ExpectedStatuses {
		if s < http.StatusOK || s > 599 {
			p.Reject(fmt.Sprintf("spec.http.expectedStatuses[%d]", i), fmt.Sprintf("%d is not the status of a response", s), "200 to 599")
		}
		out.Statuses = append(out.Statuses, int(s))
	}
	return out
}

// isControl reports whether a character cannot stand in a request line.
func isControl(r rune) bool { return r <= ' ' || r == 0x7f }

func (p *policy) tcp(in *TCPCheck) *model.TCPCheck {
	p.text("spec.tcp.send", in.Send)
	p.text("spec.tcp.receive", in.Receive)
	if in.Receive == "" {
		p.Warn("spec.tcp", "the kernel takes connections for an app that hangs: the check finds out that nothing listens, and no more",
			"write receive, what the app answers, and send, what it answers to")
	}
	return &model.TCPCheck{Send: in.Send, Receive: in.Receive}
}
