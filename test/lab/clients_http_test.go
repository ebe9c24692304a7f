//go:build clients

package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bodies are the files that servers serve and clients send, the same for both labs.
func bodies(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	block := make([]byte, 1<<16)
	for i := range block {
		block[i] = byte(i*i>>3 ^ i)
	}
	changed := time.Unix(1_700_000_000, 0)
	for name, content := range map[string][]byte{
		"small.txt": []byte("small\n"), "text.txt": bytes.Repeat([]byte("compress me, please; "), 500), "mid.bin": bytes.Repeat(block, 8), "big.bin": bytes.Repeat(block, 1024),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// webServers are nginx and gunicorn. Port 80 is declared as HTTP, 81 is detected, 82 is HTTP/2 by prior knowledge.
func webServers(t *testing.T, www string) func(own string) string {
	return func(own string) string {
		if err := os.Symlink(www, filepath.Join(own, "www")); err != nil {
			t.Fatal(err)
		}
		const ports = "{name: http, port: 80, targetPort: 8080}, {name: detected, port: 81, targetPort: 8080}"
		nginx := realServer{name: "nginx", argv: []string{"nginx", "-p", own, "-c", programFile(t, "nginx.conf")}, ready: 8080, ports: ports + ", {name: http2, port: 82, targetPort: 8081}"}
		gunicorn := realServer{
			name: "gunicorn", ready: 8080, ports: ports,
			argv: []string{"python3", "-m", "gunicorn", "--chdir", programFile(t, ""), "--bind", ":8080", "--threads", "16", "--keep-alive", "5", "--worker-tmp-dir", own, "app:app"},
			env:  map[string]string{"PYTHONPATH": installed(t, "python"), "PYTHONDONTWRITEBYTECODE": "1"},
		}
		return nginx.manifest(t) + gunicorn.manifest(t)
	}
}

// curl runs curl for each line "name args…" in the pod of the client; @ is the directory of bodies, ~ the server,
// ^ a blank.
func curl(t *testing.T, m *mesh, base, www, lines string) []exchange {
	t.Helper()
	var out []exchange
	dir := t.TempDir()
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		args := strings.Fields(strings.NewReplacer("@@", "@"+www+"/", "@", www+"/", "~", base+"/").Replace(line))
		argv := []string{"curl", "--silent", "--path-as-is", "--max-time", "60", "--write-out", "%{json}%{header_json}"}
		for i, a := range args[1:] {
			if strings.HasPrefix(a, "http://") {
				argv = append(argv, "--output", filepath.Join(dir, fmt.Sprint(args[0], i)))
			}
			argv = append(argv, strings.ReplaceAll(a, "^", " "))
		}
		_, told, errOut := m.exec(t, client, argv...)
		d := json.NewDecoder(strings.NewReader(told))
		for d.More() {
			var e struct {
				Code    int    `json:"http_code"`
				Version string `json:"http_version"`
				Exit    int    `json:"exitcode"`
				Error   string `json:"errormsg"`
				Dialed  int    `json:"num_connects"`
				File    string `json:"filename_effective"`
			}
			var head map[string][]string
			if err := d.Decode(&e); err != nil {
				t.Fatalf("%s: curl says %q, %q: %v", args[0], told, errOut, err)
			}
			if err := d.Decode(&head); err != nil {
				t.Fatalf("%s: curl says %q, %q: %v", args[0], told, errOut, err)
			}
			raw, err := os.ReadFile(e.File)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if strings.HasPrefix(args[0], "head") {
				raw = nil // curl writes the head there
			}
			one := exchange{Name: args[0], Status: e.Code, Proto: e.Version, Header: head, Body: summary(raw), Dialed: e.Dialed}
			if e.Exit != 0 {
				one.Error = curlError(e.Exit)
			}
			out = append(out, one.settled())
		}
	}
	return out
}

// curlError names exit codes of curl as its manual does.
func curlError(code int) string {
	names := map[int]string{7: "refused", 18: "partial", 22: "status", 28: "timeout", 52: "empty", 55: "send", 56: "recv", 92: "stream", 97: "proxy"}
	if name, ok := names[code]; ok {
		return name
	}
	return "exit-" + string(rune('0'+code/10)) + string(rune('0'+code%10))
}

// staticPages are calls of nginx.
const staticPages = `
get ~small.txt
head --head ~small.txt
big ~big.bin
range --range 1000000-1099999 ~big.bin
tail --range -500 ~big.bin
ranges --range 0-9,100-109 ~big.bin
beyond --range 99999999- ~small.txt
compressed --compressed ~text.txt
gzip --header Accept-Encoding:gzip ~text.txt
identity ~text.txt
unchanged --header If-Modified-Since:Tue,^14^Nov^2023^22:13:20^GMT ~small.txt
missing ~missing.txt
moved ~moved
followed --location ~moved
nothing ~nothing
http10 --http1.0 ~small.txt
http10-kept --http1.0 --header Connection:keep-alive ~small.txt ~small.txt
kept ~small.txt ~small.txt ~missing.txt ~mid.bin ~small.txt
closed --header Connection:close ~small.txt ~small.txt
put --upload-file @mid.bin ~put/a.bin
delete --request DELETE ~put/a.bin
options --request OPTIONS ~small.txt
too-large --upload-file @big.bin ~put/b.bin
too-large-unasked --upload-file @big.bin --header Expect: ~put/b.bin
too-large-slowly --upload-file @big.bin --header Expect: --limit-rate 400k ~put/b.bin
slow-reader --limit-rate 400k ~mid.bin
slow-server ~slow/mid.bin
`

// appPages are calls of gunicorn.
const appPages = `
get ~echo?a=1&b=%20
head --head ~size?bytes=100
post --data hello ~echo
form --form file=@@mid.bin --form a=b ~size?bytes=1
upload --data-binary @@mid.bin ~echo
upload-asked --data-binary @@mid.bin --header Expect:100-continue ~echo
upload-unasked --data-binary @@mid.bin --header Expect: ~echo
chunked --data-binary @@mid.bin --header Transfer-Encoding:chunked ~echo
chunked-small --data abc --header Transfer-Encoding:chunked ~echo
empty --request POST --header Content-Length:0 ~echo
slow-writer --data-binary @@mid.bin --limit-rate 400k ~echo
put --upload-file @mid.bin ~echo
patch --request PATCH --data x ~echo
odd-method --request PROPFIND ~echo
odd-path ~echo/a/%20;d=e?f=/../&%2567
chunks ~chunks?count=100&size=5000
no-chunks ~chunks?count=0
chunks-10 --http1.0 ~chunks?count=100&size=5000
squeezed --compressed ~squeezed
cookies ~cookies
moved --location --data kept ~moved
moved-to-get --location --data lost ~moved?status=303%20See%20Other
refused --data-binary @@big.bin ~refuse
refused-unasked --data-binary @@big.bin --header Expect: ~refuse
refused-chunked --data-binary @@big.bin --header Expect: --header Transfer-Encoding:chunked ~refuse
teapot ~echo?status=418%20Teapot
unavailable ~echo?status=503%20Later
kept ~echo ~echo ~size?bytes=1000000 ~chunks ~echo
http10 --http1.0 ~echo
short ~short
short-slowly --limit-rate 1M ~short?bytes=2000000
cut ~cut
reset ~reset
`

const (
	staticEnds = "get 200, head 200, big 200, range 206, tail 206, ranges 206, beyond 416, compressed 200, gzip 200, identity 200, " +
		"unchanged 304, missing 404, moved 302, followed 200, nothing 204, http10 200, http10-kept 200, http10-kept 200, " +
		"kept 200, kept 200, kept 404, kept 200, kept 200, closed 200, closed 200, put 201, delete 204, options 405, too-large 413, too-large-unasked 413, " +
		"too-large-slowly 413, slow-reader 200, slow-server 200"
	appEnds = "get 200, head 200, post 200, form 200, upload 200, upload-asked 200, upload-unasked 200, chunked 200, chunked-small 200, " +
		"empty 200, slow-writer 200, put 200, patch 200, odd-method 200, odd-path 200, chunks 200, no-chunks 200, chunks-10 200, " +
		"squeezed 200, cookies 200, moved 200, moved-to-get 200, refused 413, refused-unasked 413, refused-chunked 413, teapot 418, " +
		"unavailable 503, kept 200, kept 200, kept 200, kept 200, kept 200, http10 200, " +
		// Whether a server ended or reset the connection is told as an end; that the answer is not whole is seen of both.
		"short partial, short-slowly partial, cut recv/partial, " +
		// No answer at all is the sidecar's 503, which says why.
		"reset recv/503"
)

func TestClientsWeb(t *testing.T) {
	www := bodies(t)
	c := startCompared(t, webServers(t, www))
	for _, server := range []struct{ name, calls, ends string }{{"nginx", staticPages, staticEnds}, {"gunicorn", appPages, appEnds}} {
		for _, port := range []string{":80", ":81"} {
			t.Run("curl_"+server.name+port, func(t *testing.T) {
				c.compare(t, server.ends, func(t *testing.T, m *mesh) []exchange {
					return curl(t, m, "http://"+server.name+port, www, server.calls)
				})
			})
		}
	}
	c.secured(t, "nginx", "gunicorn")
}
