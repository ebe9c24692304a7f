package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/observe"
)

// configuration is the server for questions about what is in force, and what is wrong with it.
type configuration struct{ *Server }

// Config is what is in force, of all replicas together.
type Config struct {
	observe.Config

	Note    string `json:"note,omitempty"`
	Command string `json:"command"`
}

func (s configuration) config(ctx context.Context) (*Config, error) {
	answers, missing, err := ask[observe.Config](ctx, s.Server, observe.ViewConfig, nil)
	if err != nil {
		return nil, err
	}
	return &Config{Config: mergeConfig(answers), Note: missing, Command: s.command("proxy-status")}, nil
}

// mergeConfig puts the answers of replicas together: each has the same configuration, and knows the sidecars that are connected to
// it and the certificates that it has signed.
func mergeConfig(answers []observe.Config) observe.Config {
	out := answers[0]
	at := map[string]int{}
	for i := range out.Workloads {
		at[out.Workloads[i].ID] = i
	}
	for _, a := range answers[1:] {
		for _, w := range a.Workloads {
			i, known := at[w.ID]
			if !known {
				at[w.ID] = len(out.Workloads)
				out.Workloads = append(out.Workloads, w)
				continue
			}
			have := &out.Workloads[i]
			certificate := have.Certificate
			if w.Certificate != nil && (certificate == nil || w.Certificate.From > certificate.From) {
				certificate = w.Certificate
			}
			if w.Sync.State != observe.SyncNone && (have.Sync.State == observe.SyncNone || w.Sync.Since > have.Sync.Since) {
				*have = w
			}
			have.Certificate = certificate
		}
	}
	return out
}

// ServiceAnswer is one Service with what its callers know.
type ServiceAnswer struct {
	observe.Service

	// Note says which callers could not be asked.
	Note    string `json:"note,omitempty"`
	Command string `json:"command"`
}

// maxCallers is how many callers of a Service are asked what they have ejected.
const maxCallers = 10

// service is one of the config with what its callers have ejected: their sidecars are asked for it.
func (s configuration) service(ctx context.Context, r *http.Request) (any, error) {
	id := r.URL.Query().Get("id")
	namespace, name, ok := strings.Cut(id, "/")
	if !ok {
		return nil, badRequestError(fmt.Sprintf("id %q: write namespace/name", id))
	}
	c, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(c.Services, func(one observe.Service) bool { return one.ID == id })
	if i < 0 {
		return nil, &observe.RefusalError{Status: http.StatusNotFound, Message: "there is no Service " + id}
	}
	out := &ServiceAnswer{Service: c.Services[i], Note: c.Note, Command: s.command("proxy-config endpoints POD -n", namespace, "--fqdn", or(first(c.Services[i].Hosts), name))}
	callers, err := s.callers(ctx, id)
	if err != nil {
		return nil, err
	}
	dumps, note := s.dumps(ctx, callers)
	if note != "" {
		out.Note = note
	}
	for i := range out.Endpoints {
		out.Endpoints[i].Ejected = ejection(out.Endpoints[i].Address, dumps)
	}
	return out, nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// callers are pods that have called a Service in the last ten minutes, as "namespace/name".
func (s configuration) callers(ctx context.Context, service string) ([]string, error) {
	w := span{seconds: 600}
	a, _, err := s.answer(ctx, w)
	if err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(service, "/")
	running := map[string]bool{}
	for i := range a.Pods {
		running[a.Pods[i].Namespace+"/"+a.Pods[i].Name] = a.Pods[i].Meshed
	}
	var pods []string
	for i := range a.Flows {
		f := &a.Flows[i]
		if pod := f.Namespace + "/" + f.Pod; f.Direction == string(observe.Outbound) && f.Edge.Service == name+"."+namespace && running[pod] {
			pods = append(pods, pod)
		}
	}
	slices.Sort(pods)
	pods = slices.Compact(pods)
	return pods[:min(len(pods), maxCallers)], nil
}

// dumps asks sidecars what they have.
func (s configuration) dumps(ctx context.Context, pods []string) (dumps []*admin.Dump, note string) {
	found := make([]*admin.Dump, len(pods))
	errs := make([]error, len(pods))
	var asking sync.WaitGroup
	for i, pod := range pods {
		asking.Go(func() {
			var c admin.Client
			if c, errs[i] = s.o.Mesh.Sidecar(ctx, pod); errs[i] == nil {
				found[i], errs[i] = c.Dump(ctx)
			}
		})
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			note = fmt.Sprintf("what %s has ejected is not known: %v", pods[i], err)
		}
	}
	return slices.DeleteFunc(found, func(d *admin.Dump) bool { return d == nil }), note
}

// ejection says who leaves an address alone, nil where nobody does.
func ejection(address string, dumps []*admin.Dump) *observe.Ejection {
	var out *observe.Ejection
	for _, d := range dumps {
		for i := range d.Endpoints {
			if e := &d.Endpoints[i]; e.Address == address && e.Outlier == "FAILED" {
				if out == nil {
					out = &observe.Ejection{Why: e.OutlierReason}
				}
				out.By = append(out.By, d.Namespace+"/"+d.Pod)
				break
			}
		}
	}
	return out
}

// SidecarAnswer is what a sidecar itself has.
type SidecarAnswer struct {
	*admin.Dump

	Command string `json:"command"`
}

func (s configuration) sidecar(ctx context.Context, r *http.Request) (any, error) {
	pod, c, err := s.sidecarOf(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := c.Dump(ctx)
	if err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(pod, "/")
	return &SidecarAnswer{d, s.command("proxy-config all", name, "-n", namespace)}, nil
}

func (s configuration) sidecarOf(ctx context.Context, r *http.Request) (string, admin.Client, error) {
	pod := r.URL.Query().Get("pod")
	namespace, _, ok := strings.Cut(pod, "/")
	switch {
	case !ok:
		return "", admin.Client{}, badRequestError(fmt.Sprintf("pod %q: write namespace/name", pod))
	case s.o.Namespace != "" && namespace != s.o.Namespace:
		return "", admin.Client{}, badRequestError("only namespace " + s.o.Namespace + " is shown here: start the dashboard without -n")
	}
	c, err := s.o.Mesh.Sidecar(ctx, pod)
	return pod, c, err
}

// FailuresAnswer are the calls of a pod that failed lately.
type FailuresAnswer struct {
	*admin.Failures

	Command string `json:"command"`
}

func (s configuration) failures(ctx context.Context, r *http.Request) (any, error) {
	pod, c, err := s.sidecarOf(ctx, r)
	if err != nil {
		return nil, err
	}
	page, err := c.Failures(ctx)
	if err != nil {
		return nil, err
	}
	namespace, name, _ := strings.Cut(pod, "/")
	return &FailuresAnswer{page, s.command("errors", name, "-n", namespace)}, nil
}

// Objects are those that the mesh reads.
type Objects struct {
	Objects []observe.ObjectName `json:"objects"`
	Command string               `json:"command"`
}

func (s configuration) objects(ctx context.Context, _ *http.Request) (any, error) {
	answers, _, err := ask[[]observe.ObjectName](ctx, s.Server, observe.ViewObjects, nil)
	if err != nil {
		return nil, err
	}
	return &Objects{list(answers[0]), s.command("check")}, nil
}

// Object is one manifest.
type Object struct {
	YAML     string          `json:"yaml"`
	Problems []ObjectProblem `json:"problems"`
	// Acked of Of sidecars have confirmed all that they were sent.
	Acked   int    `json:"acked"`
	Of      int    `json:"of"`
	Command string `json:"command"`
}

// ObjectProblem is what is wrong with an object. Line counts from 1, in the text of the answer; 0 where it is not known.
type ObjectProblem struct {
	Path     string `json:"path,omitempty"`
	Line     int    `json:"line,omitempty"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
	Fix      string `json:"fix,omitempty"`
}

func (s configuration) object(ctx context.Context, r *http.Request) (any, error) {
	q := r.URL.Query()
	kind, namespace, name := q.Get("kind"), q.Get("ns"), q.Get("name")
	answers, _, err := ask[[]observe.ObjectName](ctx, s.Server, observe.ViewObjects, nil)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(answers[0], func(o observe.ObjectName) bool { return o.Kind == kind && o.Namespace == namespace && o.Name == name })
	if i < 0 {
		return nil, &observe.RefusalError{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no %s %s/%s", kind, namespace, name)}
	}
	text, err := s.o.Mesh.Object(ctx, answers[0][i])
	if err != nil {
		return nil, err
	}
	problems, _, err := ask[[]admin.Problem](ctx, s.Server, observe.ViewProblems, nil)
	if err != nil {
		return nil, err
	}
	c, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	out := &Object{YAML: text, Problems: []ObjectProblem{}, Command: s.command("check")}
	for _, p := range problems[0] {
		if p.Kind == kind && p.Object == objectKey(namespace, name) {
			out.Problems = append(out.Problems, ObjectProblem{Path: p.Field, Line: lineOf(text, p.Field), Severity: p.Severity, Text: p.Message, Fix: p.Fix})
		}
	}
	for i := range c.Workloads {
		if state := c.Workloads[i].Sync.State; state != observe.SyncNone {
			out.Of++
			if state == admin.Synced {
				out.Acked++
			}
		}
	}
	return out, nil
}

func objectKey(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// Problems are all that is wrong: with objects, sidecars, certificates and Services.
type Problems struct {
	Problems []Problem `json:"problems"`
	Command  string    `json:"command"`
}

// Problem is one of them.
type Problem struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind"`
	Object   string `json:"object"`
	Field    string `json:"field,omitempty"`
	Text     string `json:"text"`
	Fix      string `json:"fix,omitempty"`
	// Since is milliseconds since 1970.
	Since   int64  `json:"since,omitempty"`
	Command string `json:"command"`
}

// The severities of a Problem.
const (
	severityError   = "error"
	severityWarning = "warning"
)

func (s configuration) problems(ctx context.Context) (*Problems, error) {
	said, _, err := ask[[]admin.Problem](ctx, s.Server, observe.ViewProblems, nil)
	if err != nil {
		return nil, err
	}
	c, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	out := &Problems{Problems: []Problem{}, Command: s.command("check")}
	known := map[string]bool{}
	for _, replica := range said {
		for _, p := range replica {
			if !known[p.Text] {
				known[p.Text] = true
				out.Problems = append(out.Problems, Problem{
					Severity: p.Severity, Kind: p.Kind, Object: p.Object, Field: p.Field, Text: p.Message, Fix: p.Fix, Command: s.command("check"),
				})
			}
		}
	}
	out.Problems = append(out.Problems, s.observed(&c.Config, time.Now())...)
	slices.SortStableFunc(out.Problems, func(a, b Problem) int { return strings.Compare(a.Severity, b.Severity) }) // errors first
	return out, nil
}

const (
	// staleAfter is after how long a sidecar that has not confirmed something lags.
	staleAfter = 30 * time.Second
	// leastLeft is the share of its life below which a certificate should have been renewed: sidecars do at half of it.
	leastLeft = 0.25
)

// observed is what is wrong with sidecars, certificates and Services.
func (s configuration) observed(c *observe.Config, now time.Time) (list []Problem) {
	for i := range c.Workloads {
		w := &c.Workloads[i]
		status := s.command("proxy-status", w.Pod, "-n", w.Namespace)
		if since := time.UnixMilli(max(w.Sync.At, w.Sync.Since)); w.Sync.State == admin.Stale && now.Sub(since) > staleAfter {
			list = append(list, Problem{
				Severity: severityWarning, Kind: "Pod", Object: w.Namespace + "/" + w.Pod, Since: since.UnixMilli(), Command: status,
				Text: "the sidecar has not confirmed what it was sent since " + now.Sub(since).Round(time.Second).String() + " ago",
				Fix:  "look at its log: " + s.command("lab logs", w.Pod, "-c proxy") + ", or kubectl logs -c fairlead-proxy",
			})
		}
		if w.Proxy == "fairlead" && w.Sync.State == observe.SyncNone {
			list = append(list, Problem{
				Severity: severityWarning, Kind: "Pod", Object: w.Namespace + "/" + w.Pod, Command: status,
				Text: "the pod has a sidecar, which is not connected to the control plane: it goes on with what it had last",
				Fix:  "see whether the pod runs, and what the sidecar's log says",
			})
		}
		if cert := w.Certificate; cert != nil && cert.Left(now) < leastLeft {
			list = append(list, Problem{
				Severity: severityWarning, Kind: "Pod", Object: w.Namespace + "/" + w.Pod, Since: cert.From, Command: s.command("proxy-config secret", w.Pod, "-n", w.Namespace),
				Text: "its certificate ends at " + time.UnixMilli(cert.To).UTC().Format(time.RFC3339) + ", and less than a quarter of its life is left: it has not been renewed in time",
				Fix:  "see whether the sidecar reaches the control plane: " + status,
			})
		}
	}
	for i := range c.Services {
		sv := &c.Services[i]
		healthy := slices.ContainsFunc(sv.Endpoints, func(e observe.Endpoint) bool { return e.Health == "healthy" })
		if sv.External || healthy || len(sv.Ports) == 0 {
			continue
		}
		p := Problem{
			Severity: severityWarning, Kind: "Service", Object: sv.ID, Command: s.command("stat svc/"+sv.Name, "-n", sv.Namespace),
			Text: "no endpoint: calls to it are answered with 503", Fix: "see whether its selector matches the labels of pods that run",
		}
		if len(sv.Endpoints) > 0 {
			p.Text, p.Fix = fmt.Sprintf("none of its %d endpoints is ready", len(sv.Endpoints)), "see why their readiness probes fail"
		}
		list = append(list, p)
	}
	return list
}
