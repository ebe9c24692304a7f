package istio

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// report collects the problems of one object and knows where it lives.
type report struct {
	model.Report

	namespace     string
	clusterDomain string
}

func newReport(kind string, meta *metav1.ObjectMeta, clusterDomain string) *report {
	namespace := cmp.Or(meta.Namespace, metav1.NamespaceDefault)
	return &report{
		Report:        model.Report{Ref: model.Ref{Kind: kind, Key: model.Key{Namespace: namespace, Name: meta.Name}}},
		namespace:     namespace,
		clusterDomain: clusterDomain,
	}
}

// duration reads a duration that must be at least a millisecond, in whole milliseconds, as Istio demands. A missing
// one is 0.
func (r *report) duration(field string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	got := d.AsDuration()
	switch {
	case d.CheckValid() != nil:
		r.Reject(field, "not a valid duration", `write it like "1.5s" or "300ms"`)
	case got < time.Millisecond:
		r.Reject(field, fmt.Sprintf("%s is below 1ms", got), "write at least 1ms, or leave the field out for the default")
	case got%time.Millisecond != 0:
		r.Reject(field, fmt.Sprintf("%s is finer than a millisecond", got), "write whole milliseconds")
	}
	return got
}

// port reads a port number; 0 is an error too.
func (r *report) port(field string, number uint32) uint16 {
	if number == 0 || number > 65535 {
		r.Reject(field, fmt.Sprintf("port %d is out of range", number), "write a number from 1 to 65535")
		return 0
	}
	return uint16(number)
}

// optionalPort is port for fields where 0 means "not said".
func (r *report) optionalPort(field string, number uint32) uint16 {
	if number == 0 {
		return 0
	}
	return r.port(field, number)
}

// percent reads a percentage. ok is false where it is none, after saying so.
func (r *report) percent(field string, value float64) (_ float64, ok bool) {
	if math.IsNaN(value) || value < 0 || value > 100 {
		r.Reject(field, fmt.Sprintf("%v is not a percentage", value), "write a number from 0 to 100")
		return 0, false
	}
	return value, true
}

// limit reads a count that may not be negative; 0 means "not said".
func (r *report) limit(field string, value int32) uint32 {
	if value < 0 {
		r.Reject(field, fmt.Sprintf("%d is negative", value), "write a positive number, or leave the field out for no limit")
		return 0
	}
	return uint32(value)
}

// exportTo checks a list of namespaces to which an object is visible. Only a ServiceEntry may hide from every namespace.
func (r *report) exportTo(list []string) []string {
	seen := make(map[string]bool, len(list))
	for i, to := range list {
		field := fmt.Sprintf("spec.exportTo[%d]", i)
		key := to
		if to == "." {
			key = r.namespace
		}
		switch {
		case seen[key]:
			r.Reject(field, fmt.Sprintf("%q is there twice", to), "remove one")
		case to == "*" && len(list) > 1:
			r.Reject(field, `"*" beside others`, `"*" alone is for all namespaces`)
		case to == "~" && r.Ref.Kind != "ServiceEntry":
			r.Reject(field, `"~" hides the object from every namespace, so that it would have no effect`, `write ".", a namespace, or "*" for all`)
		case to == "~" && len(list) > 1:
			r.Reject(field, `"~" (no namespace) beside others`, "remove one of them")
		case to == "~":
			r.Warn(field, `"~" hides the hosts from every namespace: no call finds them`, `write ".", a namespace, or "*" for all`)
		case to != "*" && to != "." && !isLabel(to):
			r.Reject(field, fmt.Sprintf("%q is not a namespace", to), `write a namespace, "." for the own one, or "*" for all`)
		}
		seen[key] = true
	}
	return slices.Clone(list)
}

// labels checks labels that select workloads.
func (r *report) labels(field string, labels map[string]string) {
	for _, name := range sortedKeys(labels) {
		if name == "" {
			r.Reject(field, "a label without a name", "write key: value")
		} else if !isLabelKey(name) {
			r.Reject(field, fmt.Sprintf("%q is not the name of a label", name), `such as "app" or "example.com/app"`)
		}
		if value := labels[name]; value == "*" || !isLabelValue(value) {
			r.Reject(field+"["+name+"]", fmt.Sprintf("%q is not a label value", value),
				"labels are compared whole; wildcards do not exist")
		}
	}
}
