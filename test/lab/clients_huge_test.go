//go:build clients

package lab_test

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hugeMiB is how long the bodies are, in MiB, unless FAIRLEAD_HUGE_MIB says otherwise; `make clients-huge` has 2 GiB of them.
const hugeMiB = 200

// moreMemory, in KiB, is what sidecars may need more for bodies of any length: windows of HTTP/2, and buffers.
const moreMemory = 32 << 10

// huge writes a file no part of which is like another.
func huge(t *testing.T, path string) {
	t.Helper()
	size := hugeMiB
	if said := os.Getenv("FAIRLEAD_HUGE_MIB"); said != "" {
		var err error
		if size, err = strconv.Atoi(said); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.CopyN(out, rand.NewChaCha8([32]byte{}), int64(size)<<20); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestServersHuge: bodies of any length come whole, both ways and in both versions of HTTP, through sidecars that do not grow.
func TestServersHuge(t *testing.T) {
	www := bodies(t)
	huge(t, filepath.Join(www, "huge.bin"))
	owns := map[string]string{}
	server := webServer(t, www)
	p := startPairs(t, func(own string) realServer {
		out := server(own)
		if name := out.name; owns[name] == "" { // the first is the one with a sidecar
			owns[name] = own
		} else {
			owns[plainPrefix+name] = own
		}
		return out
	})
	const calls = `
down-h1 curl -sS -f --max-time 600 http://SERVER/huge.bin | cmp - $w/huge.bin
down-h2 curl -sS -f --max-time 600 --http2-prior-knowledge http://SERVER:82/huge.bin | cmp - $w/huge.bin
up-h1 curl -sS -f --max-time 600 -o /dev/null -T $w/huge.bin http://SERVER/unbounded/FROM.bin && cmp $own/put/FROM.bin $w/huge.bin
up-h2 timeout 600 node UPLOAD http://SERVER:82/unbounded/FROM.bin $w/huge.bin && cmp $own/put/FROM.bin $w/huge.bin
`
	small := strings.NewReplacer("huge.bin", "mid.bin").Replace(calls)
	const ends = "down-h1 0, down-h2 0, up-h1 0, up-h2 0"
	talk := func(calls string) func(t *testing.T, from, server string) []exchange {
		return func(t *testing.T, from, server string) []exchange {
			name := strings.ReplaceAll(filepath.Base(from)+server, "/", "-")
			out := p.programs(t, from, server, strings.NewReplacer("$w", www, "$own", owns[server], "FROM", name, "UPLOAD", programFile(t, "upload.mjs")).Replace(calls))
			if err := os.Remove(filepath.Join(owns[server], "put", name+".bin")); err != nil { // so that there is one at a time
				t.Error(err)
			}
			return out
		}
	}
	p.compare(t, "nginx", ends, talk(small))
	sidecars := []string{client, "nginx"}
	before := map[string]int{}
	for _, name := range sidecars {
		before[name] = p.memory(t, name, "VmHWM:")
	}
	p.compare(t, "nginx", ends, talk(calls))
	for _, name := range sidecars {
		after := p.memory(t, name, "VmHWM:")
		t.Logf("the sidecar of %s has needed at most %d MiB for bodies of 512 KiB, and %d MiB for long ones", name, before[name]>>10, after>>10)
		if after > before[name]+moreMemory {
			t.Errorf("the sidecar of %s has grown from %d to %d KiB", name, before[name], after)
		}
	}
	p.secured(t, "nginx")
}
