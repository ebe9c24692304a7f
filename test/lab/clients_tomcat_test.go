//go:build clients

package lab_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tomcat serves the files of www and takes uploads, in HTTP/1.1 and, by prior knowledge, in HTTP/2, all at one port.
func tomcat(t *testing.T, www string) func(own string) realServer {
	return func(own string) realServer {
		script := strings.NewReplacer("OWN", own, "WWW", www, "SERVER", programFile(t, "tomcat.xml"), "WEB", programFile(t, "tomcat-web.xml")).Replace(`
cd OWN && mkdir -p conf webapps/ROOT work temp logs && cp SERVER conf/server.xml && cp WEB conf/web.xml && cp -p WWW/* webapps/ROOT &&
exec java -Xshare:auto -XX:TieredStopAtLevel=1 -Xmx256m -cp /usr/share/tomcat10/bin/bootstrap.jar:/usr/share/tomcat10/bin/tomcat-juli.jar \
	-Dcatalina.home=/usr/share/tomcat10 -Dcatalina.base=OWN -Djava.io.tmpdir=OWN/temp org.apache.catalina.startup.Bootstrap start`)
		return realServer{
			name: "tomcat", ready: 8080, argv: []string{"sh", "-c", script},
			ports: "{name: http, port: 80, targetPort: 8080}, {name: detected, port: 81, targetPort: 8080}, {name: http2, port: 82, targetPort: 8080}",
		}
	}
}

// TestServersTomcat: files, uploads and refusals of Tomcat's connectors.
func TestServersTomcat(t *testing.T) {
	t.Parallel()
	versions(t, "java -version 2>&1 | head -n 1")
	www := bodies(t)
	p := startPairs(t, tomcat(t, www))
	const tells = ` -w " %{http_code} %{num_connects} %{http_version} %header{content-type} %header{etag} %header{accept-ranges} %header{content-range} %header{allow}|"`
	calls := strings.ReplaceAll(`
get curl -sS --max-time 60 HTTP TELLS BASE/small.txt
kept curl -sS --max-time 60 HTTP TELLS BASE/small.txt BASE/missing.txt -o /dev/null -o /dev/null BASE/small.txt
head curl -sS --max-time 60 HTTP TELLS --head -o /dev/null BASE/mid.bin
big curl -sS -f --max-time 60 HTTP BASE/big.bin | cmp - $w/big.bin
range curl -sS --max-time 60 HTTP TELLS --range 1000-1999 -o /dev/null BASE/big.bin
beyond curl -sS --max-time 60 HTTP TELLS --range 99999999- -o /dev/null BASE/small.txt
unchanged curl -sS --max-time 60 HTTP TELLS --header "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT" BASE/small.txt
options curl -sS --max-time 60 HTTP TELLS --request OPTIONS BASE/small.txt
put curl -sS --max-time 60 HTTP TELLS -T $w/mid.bin BASE/FROM-put.bin
put-asked curl -sS --max-time 60 HTTP TELLS --header "Expect: 100-continue" -T $w/big.bin BASE/FROM-asked.bin
put-chunks curl -sS --max-time 60 HTTP TELLS --header "Transfer-Encoding: chunked" -T $w/mid.bin BASE/FROM-chunks.bin
put-back curl -sS -f --max-time 60 HTTP BASE/FROM-asked.bin | cmp - $w/big.bin
delete curl -sS --max-time 60 HTTP TELLS --request DELETE BASE/FROM-put.bin
post curl -sS --max-time 60 HTTP TELLS --data a=b BASE/small.txt
odd-method curl -sS --max-time 60 HTTP TELLS --request PROPFIND -o /dev/null BASE/small.txt
`, "TELLS", tells)
	// Of HTTP/2 no second request on a connection: curl 7.88 finds that this server breaks its framing, without a mesh, too. No uploads: two
	// short DATA frames, as they come of a window that is nearly used up, are an attack to it, and it ends the connection.
	// And no answers that use a window up a thousand times: each time it may take its own wake-up for a client that is gone.
	inHTTP2 := strings.ReplaceAll(regexp.MustCompile(`(?m)^(kept|put\S*|delete|post) .*\n`).ReplaceAllString(calls, ""), "big.bin", "mid.bin")
	for port, how := range map[string][2]string{"80": {"--http1.1", calls}, "81": {"--http1.1", calls}, "82": {"--http2-prior-knowledge", inHTTP2}} {
		t.Run("curl:"+port, func(t *testing.T) {
			var ends []string
			for line := range strings.Lines(strings.TrimSpace(how[1])) {
				name, _, _ := strings.Cut(line, " ")
				ends = append(ends, name+" 0")
			}
			p.compare(t, "tomcat", strings.Join(ends, ", "), func(t *testing.T, from, server string) []exchange {
				own := strings.ReplaceAll(filepath.Base(from)+server+port, "/", "-")
				return p.programs(t, from, server, strings.NewReplacer("BASE", "http://SERVER:"+port, "HTTP", how[0], "$w", www, "FROM", own).Replace(how[1]))
			})
		})
	}
	p.secured(t, "tomcat")
}
