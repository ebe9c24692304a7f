//go:build clients

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const mailTalk = "-hello 0, %[1]s-message-1 0, %[1]s-message-1000 0, %[1]s-message-200000 0, %[1]s-refused 0, %[1]s-too-large 0, %[1]s-unknown 0, %[1]s-quit 0"

// TestServersSMTP: the server speaks first; TLS begins with the connection, or when the client asks for it.
func TestServersSMTP(t *testing.T) {
	t.Parallel()
	a := certificates(t, "mail")
	python := map[string]string{"PYTHONPATH": installed(t, "python"), "PYTHONDONTWRITEBYTECODE": "1"}
	p := startPairs(t, func(string) realServer {
		return realServer{
			name: "mail", argv: []string{"python3", programFile(t, "mail.py"), "serve", a.dir}, env: python, ready: 2525,
			ports: "{name: smtp, port: 25, targetPort: 2525}, {name: detected, port: 587, targetPort: 2525}, {name: tls, port: 465, targetPort: 4650}",
		}
	})
	ends := func(name string) string { return name + fmt.Sprintf(mailTalk, name) }
	for port, want := range map[string]string{
		"25": ends("plain") + ", starttls 0, " + ends("tls"), "587": ends("plain") + ", starttls 0, " + ends("tls"), "465": ends("wrapped"),
	} {
		t.Run("smtplib:"+port, func(t *testing.T) {
			p.compare(t, "mail", want, func(t *testing.T, from, server string) []exchange {
				return scriptFrom(t, p.mesh, from, "python3", programFile(t, "mail.py"), "send", server, port, a.dir)
			})
		})
	}
	const calls = `
plain curl -sS --max-time 60 -v smtp://SERVER:PORT/client --mail-from a@example.com --mail-rcpt b@example.com --crlf --upload-file $d/numbers.txt 2>&1 | grep -E "^< 250 .*bytes"
starttls curl -sS --max-time 60 -v --ssl-reqd --cacert $d/ca.pem smtp://SERVER:PORT/client --mail-from a@example.com --mail-rcpt b@example.com --crlf --upload-file $d/numbers.txt 2>&1 | grep -E "^< 250 .*bytes"
refused curl -sS --max-time 60 smtp://SERVER:PORT/client --mail-from refused@example.com --mail-rcpt b@example.com --upload-file $d/numbers.txt
`
	for _, port := range []string{"25", "587"} {
		t.Run("curl:"+port, func(t *testing.T) {
			p.compare(t, "mail", "plain 0, starttls 0, refused 55", func(t *testing.T, from, server string) []exchange {
				return p.programs(t, from, server, strings.NewReplacer("PORT", port, "$d", a.dir).Replace(calls))
			})
		})
	}
	p.secured(t, "mail")
}

// webServer is nginx, with the files of www.
func webServer(t *testing.T, www string) func(own string) realServer {
	return func(own string) realServer {
		if err := os.Symlink(www, filepath.Join(own, "www")); err != nil {
			t.Fatal(err)
		}
		return realServer{
			name: "nginx", argv: []string{"nginx", "-p", own, "-c", programFile(t, "nginx.conf")}, ready: 8080,
			ports: "{name: http, port: 80, targetPort: 8080}, {name: detected, port: 81, targetPort: 8080}, {name: http2, port: 82, targetPort: 8081}",
		}
	}
}

// TestServersSquid: a forward proxy in the mesh is asked in absolute form, and by CONNECT, for a server in the mesh.
func TestServersSquid(t *testing.T) {
	t.Parallel()
	versions(t, "squid --version | head -n 1")
	www := bodies(t)
	p := startPairs(t, webServer(t, www), squid(t))
	const calls = `
absolute curl -sS -f --max-time 60 -x http://SERVER:PORT -o - -w "%{http_code} %{num_connects}" http://nginx.shop.svc.cluster.local/small.txt
detected curl -sS -f --max-time 60 -x http://SERVER:PORT -o - -w "%{http_code}" http://nginx.shop.svc.cluster.local:81/small.txt
kept curl -sS --max-time 60 -x http://SERVER:PORT -w "%{http_code} %{num_connects} " http://nginx.shop.svc.cluster.local/small.txt http://plain-nginx.shop.svc.cluster.local/small.txt http://nginx.shop.svc.cluster.local/missing.txt http://nginx.shop.svc.cluster.local/text.txt
big curl -sS --max-time 60 -x http://SERVER:PORT -f http://nginx.shop.svc.cluster.local/big.bin | cmp - $w/big.bin
range curl -sS --max-time 60 -x http://SERVER:PORT -w "%{http_code}" -f --range 1000000-1099999 http://nginx.shop.svc.cluster.local/big.bin | sha256sum
put curl -sS -f --max-time 60 -x http://SERVER:PORT -w "%{http_code}" --upload-file $w/mid.bin http://plain-nginx.shop.svc.cluster.local/put/FROM.bin -o /dev/null
unknown curl -sS --max-time 60 -x http://SERVER:PORT -w "%{http_code}" -o /dev/null http://nobody.invalid/
tunnel curl -sS -f --max-time 60 -p -x http://SERVER:PORT -w "%{http_connect} %{http_code}" http://nginx.shop.svc.cluster.local/small.txt
tunnel-kept curl -sS --max-time 60 -p -x http://SERVER:PORT -w "%{http_connect} %{http_code} %{num_connects} " http://nginx.shop.svc.cluster.local/small.txt http://nginx.shop.svc.cluster.local/missing.txt
tunnel-big curl -sS --max-time 60 -p -x http://SERVER:PORT -f http://nginx.shop.svc.cluster.local/big.bin | cmp - $w/big.bin
tunnel-http2 curl -sS -f --max-time 60 -p --http2-prior-knowledge -x http://SERVER:PORT -w "%{http_connect} %{http_code} %{http_version}" http://nginx.shop.svc.cluster.local:82/small.txt
tunnel-unknown curl -sS --max-time 60 -p -x http://SERVER:PORT -w "%{http_connect}" http://nobody.invalid/
`
	const ends = "absolute 0, detected 0, kept 0, big 0, range 0, put 0, unknown 0, tunnel 0, tunnel-kept 0, tunnel-big 0, tunnel-http2 0, tunnel-unknown 56"
	for _, port := range []string{"3128", "3129", "3130", "3131"} {
		t.Run("curl:"+port, func(t *testing.T) {
			p.compare(t, "squid", ends, func(t *testing.T, from, server string) []exchange {
				own := strings.ReplaceAll(filepath.Base(from)+server+port, "/", "-")
				return p.programs(t, from, server, strings.NewReplacer("PORT", port, "$w", www, "FROM", own).Replace(calls))
			})
		})
	}
	p.secured(t, "squid")
}

// TestServersNATS: the server speaks first, in lines that look like no protocol that is detected.
func TestServersNATS(t *testing.T) {
	t.Parallel()
	versions(t, "nats-server --version")
	p := startPairs(t, func(string) realServer {
		return realServer{
			name: "nats", argv: []string{"nats-server", "-p", "4222"}, ready: 4222, ports: "{name: tcp-nats, port: 4222}, {name: detected, port: 4223, targetPort: 4222}",
		}
	})
	for _, port := range []string{"4222", "4223"} {
		t.Run(port, func(t *testing.T) {
			p.compare(t, "nats", "greeting 0, message 0, order 0, refused 0", func(t *testing.T, from, server string) []exchange {
				return scriptFrom(t, p.mesh, from, "python3", programFile(t, "nats.py"), server, port)
			})
		})
	}
	p.secured(t, "nats")
}

// squid is a forward proxy that carries on whatever it is asked for.
func squid(t *testing.T) func(own string) realServer {
	return func(own string) realServer {
		return realServer{
			name: "squid", ready: 3128, argv: []string{"sh", "-c", fmt.Sprintf("cp %s %s/conf && echo pid_filename %[2]s/pid >>%[2]s/conf && echo coredump_dir %[2]s >>%[2]s/conf && chown -R proxy %[2]s && exec squid -N -f %[2]s/conf", programFile(t, "squid.conf"), own)},
			ports: "{name: http, port: 3128}, {name: http-proxy, port: 3129, targetPort: 3128}, {name: detected, port: 3130, targetPort: 3128}, {name: tcp, port: 3131, targetPort: 3132}",
		}
	}
}
