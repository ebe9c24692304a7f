package lab

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// resourceOf reads a limit or a request of one of the pod's containers, as the downward API offers it to volumes.
func resourceOf(p *podSpec, ref *corev1.ResourceFieldSelector) (string, error) {
	for _, list := range [][]corev1.Container{p.template.Spec.Containers, p.template.Spec.InitContainers} {
		at := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
		if at >= 0 {
			return resourceField(&list[at], ref)
		}
	}
	return "", fmt.Errorf("resourceFieldRef.containerName %q is no container of the pod", ref.ContainerName)
}

// resourceField gives the amount in units of the divisor, rounded up. A limit that is not set is what the machine has, a
// request that is not set is the limit where there is one.
func resourceField(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	what, name, _ := strings.Cut(ref.Resource, ".")
	resourceName := corev1.ResourceName(name)
	if what != "limits" && what != "requests" || name == "" {
		return "", fmt.Errorf("resourceFieldRef.resource %q is not limits.NAME or requests.NAME", ref.Resource)
	}
	amount, set := c.Resources.Limits[resourceName]
	if request, ok := c.Resources.Requests[resourceName]; ok && what == "requests" {
		amount, set = request, true
	}
	if !set && what == "limits" {
		amount = capacity(resourceName)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	n, d := amount.Value(), divisor.Value()
	if resourceName == corev1.ResourceCPU {
		n, d = amount.MilliValue(), divisor.MilliValue()
	}
	if d <= 0 {
		return "", fmt.Errorf("resourceFieldRef.divisor %q is not positive", divisor.String())
	}
	whole := n / d
	if n%d > 0 {
		whole++
	}
	return strconv.FormatInt(whole, 10), nil
}

// capacity is what this machine has; 0 of what the lab does not measure.
func capacity(name corev1.ResourceName) resource.Quantity {
	switch name { //nolint:exhaustive // no other is asked for
	case corev1.ResourceCPU:
		return *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI)
	case corev1.ResourceMemory:
		var s unix.Sysinfo_t
		if unix.Sysinfo(&s) == nil {
			return *resource.NewQuantity(int64(s.Totalram)*int64(s.Unit), resource.BinarySI)
		}
	}
	return resource.Quantity{}
}
