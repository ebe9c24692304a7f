package inject

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The annotations by which Prometheus finds what to scrape. They are a habit of its example configuration, not a
// standard, and it reads every character but letters and digits as the same: prometheus-io/port is prometheus.io/port.
const (
	scrapeWanted = "prometheus.io/scrape"
	scrapePort   = "prometheus.io/port"
	scrapePath   = "prometheus.io/path"
	scrapeScheme = "prometheus.io/scheme"

	statsPath = "/stats/prometheus"
	// defaultAppPort is Prometheus' own, where neither annotation nor container says one.
	defaultAppPort = 80
)

// mergeMetrics points Prometheus at the sidecar, and the sidecar at what the annotations pointed at: with mutual TLS
// required Prometheus, which has no certificate, would find the app shut. A pod that says it is not to be scraped, or
// that names a port of the sidecar itself, is left as it is.
func (b *builder) mergeMetrics() {
	if !b.s.MergeMetrics {
		return
	}
	said := map[string]string{} // by the names above
	var keys []string
	for key, value := range b.pod.Annotations {
		if name := scrapeName(key); name != "" {
			said[name] = value
			keys = append(keys, key)
		}
	}
	wanted, err := strconv.ParseBool(said[scrapeWanted])
	if err == nil && !wanted {
		return
	}
	if wanted {
		port, ok := b.appMetricsPort(said[scrapePort])
		if !ok {
			b.warnf("annotation %s: %q is no port of this pod: its metrics are not scraped through the sidecar", scrapePort, said[scrapePort])
			return
		}
		if slices.Contains(reservedPorts(), port) {
			return
		}
		b.appMetrics = appMetricsURL(said, port)
	}
	for _, key := range keys {
		b.keep(key)
		delete(b.pod.Annotations, key)
	}
	for _, a := range [][2]string{{scrapePath, statsPath}, {scrapePort, strconv.Itoa(appPort)}, {scrapeWanted, "true"}} {
		b.annotate(a[0], a[1])
		b.status.Annotations = append(b.status.Annotations, a[0])
	}
}

// scrapeName gives which of the annotations a key is to Prometheus, or "".
func scrapeName(key string) string {
	meant := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, key)
	switch meant {
	case "prometheus_io_scrape":
		return scrapeWanted
	case "prometheus_io_port":
		return scrapePort
	case "prometheus_io_path":
		return scrapePath
	case "prometheus_io_scheme":
		return scrapeScheme
	}
	return ""
}

// appMetricsPort reads a number or the name of a port of the pod. Where nothing is written it is the first port that a
// container declares.
func (b *builder) appMetricsPort(written string) (int32, bool) {
	if n, err := strconv.ParseUint(written, 10, 16); err == nil {
		return int32(n), n > 0
	}
	for _, c := range b.pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Protocol != corev1.ProtocolUDP && p.Protocol != corev1.ProtocolSCTP && (written == "" || p.Name == written) {
				return p.ContainerPort, true
			}
		}
	}
	return defaultAppPort, written == ""
}

// appMetricsURL is a page without its host. A path that is no URL's is sent as well as it can be.
func appMetricsURL(said map[string]string, port int32) string {
	path := said[scrapePath]
	if path == "" {
		path = "/metrics"
	}
	u, err := url.Parse("/" + strings.TrimLeft(path, "/"))
	if err != nil {
		u = &url.URL{Path: path}
	}
	u.Scheme = "http"
	if strings.EqualFold(said[scrapeScheme], "https") {
		u.Scheme = "https"
	}
	u.Host = ":" + strconv.Itoa(int(port))
	return u.String()
}
