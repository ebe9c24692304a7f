package lab_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Addresses of the Services in TestVirtualServiceFields.
const (
	filesIP = "10.96.9.21"
	booksIP = "10.96.9.22"
)

// TestVirtualServiceFields: mirrors of long bodies, statPrefix, unusual redirects and sourceSubnet do what they say.
func TestVirtualServiceFields(t *testing.T) {
	t.Parallel()
	const bytes = "{name: tcp-web, port: 3306, targetPort: web}"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+
		app{name: "files", replicas: 1}.String()+app{name: "shadow", replicas: 1}.String()+
		app{name: "books", replicas: 1}.String()+app{name: "books", version: "v2", replicas: 1}.String()+
		service("files", filesIP, "app: files", http80)+service("shadow", "", "app: shadow", http80)+
		service("books", booksIP, "app: books, version: v1", bytes)+service("books-v2", "", "app: books, version: v2", bytes)+
		virtualService("files", `
  http:
  - match: [{uri: {prefix: /choose}}]
    redirect: {uri: /here, redirectCode: 300}
  - match: [{uri: {prefix: /upload}, statPrefix: uploads}]
    route: [{destination: {host: files}}]
    mirrors: [{destination: {host: shadow}}]
  - headers: {request: {set: {x-request-start: "t=%START_TIME(%s.%3f)%"}}}
    route: [{destination: {host: files}}]`)+
		virtualService("books", `
  tcp:
  - match: [{sourceSubnet: 192.0.2.0/24}]
    route: [{destination: {host: nowhere}}]
  - match: [{sourceSubnet: 10.0.0.0/8}]
    route: [{destination: {host: books-v2, port: {number: 3306}}}]`))
	m.settle(t)

	t.Run("the_app_is_told_when_the_request_began", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, filesIP+":80", "/")
		said, _ := strings.CutPrefix(http.Header(a.echo.Headers).Get("X-Request-Start"), "t=")
		seconds, err := strconv.ParseFloat(said, 64)
		if err != nil || len(said) != len("1700000000.000") || time.Since(time.UnixMilli(int64(seconds*1000))).Abs() > time.Hour {
			t.Errorf("X-Request-Start = %q (%d %s)", said, a.StatusCode, a.body)
		}
	})
	t.Run("a_long_upload_reaches_the_mirror_whole", func(t *testing.T) {
		const length = 900 << 10 // less than a copy may be behind
		resp, err := m.client(t, client, filesIP+":80").Post("http://files/upload", "text/plain", io.MultiReader(strings.NewReader(strings.Repeat("x", length))))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the upload itself = %d, %v", resp.StatusCode, err)
		}
		want := `} ` + strconv.Itoa(length) + "\n"
		eventually(t, "the mirror's sidecar counts all bytes", func() bool {
			for line := range strings.Lines(m.do(t, "deploy/shadow-v1", http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body) {
				if strings.HasPrefix(line, `istio_request_bytes_sum{reporter="destination"`) && strings.HasSuffix(line, want) && strings.Contains(line, `response_code="200"`) {
					return true
				}
			}
			return false
		})
	})
	t.Run("a_statPrefix_counts", func(t *testing.T) {
		const want = `envoy_vhost_route_upstream_rq{envoy_virtual_host="files.shop.svc.cluster.local:80",envoy_route="uploads",envoy_response_code="200"} `
		eventually(t, want, func() bool {
			return strings.Contains(m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body, want)
		})
	})
	t.Run("a_redirect_has_the_code_that_is_written", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, filesIP+":80", "/choose", "Host: files")
		if got := a.Header.Get("Location"); a.StatusCode != http.StatusMultipleChoices || got != "http://files/here" {
			t.Errorf("= %d to %q", a.StatusCode, got)
		}
	})
	t.Run("connections_of_a_subnet_are_told_apart", func(t *testing.T) {
		if a := m.do(t, client, http.MethodGet, booksIP+":3306", "/"); a.Header.Get("X-Demo-Version") != "v2" {
			t.Errorf("= %d of version %q, want v2", a.StatusCode, a.Header.Get("X-Demo-Version"))
		}
	})
}
