package inject

import (
	"maps"
	"slices"
	"strings"
)

// Families of annotations that meshes read from pods. What is in one of them and means nothing here is warned of.
const (
	istioProxy    = "proxy.istio.io/"
	linkerdConfig = "config.linkerd.io/"
	linkerdDomain = "linkerd.io/"
	istioNoImage  = istioDomain + "proxyImage"
)

// insteadOf names what to write for annotations of other meshes that have a counterpart here under another name.
var insteadOf = map[string]string{
	linkerdDomain + injectName:                    injectName,
	linkerdConfig + "skip-inbound-ports":          "exclude-inbound-ports",
	linkerdConfig + "skip-outbound-ports":         "exclude-outbound-ports",
	linkerdConfig + "skip-subnets":                "exclude-outbound-cidrs",
	linkerdConfig + "proxy-image":                 "proxy-image",
	linkerdConfig + "proxy-cpu-request":           "proxy-cpu",
	linkerdConfig + "proxy-cpu-limit":             "proxy-cpu-limit",
	linkerdConfig + "proxy-memory-request":        "proxy-memory",
	linkerdConfig + "proxy-memory-limit":          "proxy-memory-limit",
	linkerdConfig + "proxy-log-level":             "log-level",
	linkerdConfig + "proxy-enable-native-sidecar": "native-sidecar",
	linkerdConfig + "shutdown-grace-period":       "drain",
}

// UnknownAnnotations warns of annotations that look as if they should do something here, one line each, with what was
// probably meant.
func UnknownAnnotations(written map[string]string) (warnings []string) {
	ours, theirs := []string{keyInject}, []string{istioInject}
	known := map[string]bool{keyInject: true, keyStatus: true, istioInject: true, istioStatus: true}
	for _, a := range annotations() {
		ours = append(ours, domain+a.name)
		known[domain+a.name] = true
		if a.istio != "" {
			theirs = append(theirs, a.istio)
			known[a.istio] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(written)) {
		if known[key] || strings.HasPrefix(key, labOwner) {
			continue
		}
		if warning := unknownAnnotation(key, ours, theirs); warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings
}

// unknownAnnotation warns of one, given the names that are read: ours and Istio's. It is empty for annotations of other tools.
func unknownAnnotation(key string, ours, theirs []string) string {
	instead := insteadOf[key]
	switch {
	case instead != "":
		return key + " has no effect in Fairlead, write " + domain + instead
	case key == istioNoImage:
		return key + " has no effect: it names a build of Istio's proxy; the annotation here is " + domain + "proxy-image"
	case strings.HasPrefix(key, domain):
		return "unknown annotation " + key + didYouMean(key, ours)
	case strings.HasPrefix(key, istioDomain), strings.HasPrefix(key, istioTraffic), strings.HasPrefix(key, istioProxy):
		if meant := misfiled(key, theirs); meant != "" {
			return "unknown annotation " + key + ", did you mean " + meant + "?"
		}
		return key + " has no effect in Fairlead" + didYouMean(key, theirs)
	case strings.HasPrefix(key, linkerdConfig):
		return key + " has no effect in Fairlead"
	}
	return ""
}

// misfiled finds the annotation that has the name behind the slash, under another domain.
func misfiled(key string, names []string) string {
	_, name, _ := strings.Cut(key, "/")
	i := slices.IndexFunc(names, func(known string) bool {
		_, other, _ := strings.Cut(known, "/")
		return strings.EqualFold(name, other)
	})
	if i < 0 {
		return ""
	}
	return names[i]
}
