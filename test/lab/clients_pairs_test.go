//go:build clients

package lab_test

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outside is the client without a sidecar.
const outside = "deploy/outside-v1"

// plainPrefix is that of the names of servers without a sidecar.
const plainPrefix = "plain-"

// pairs are a lab in which each server runs twice, with a sidecar and without one, and so does the client.
type pairs struct{ *mesh }

// startPairs starts servers: each is made with a directory of its own, which belongs to its user.
func startPairs(t *testing.T, servers ...func(own string) realServer) *pairs {
	t.Helper()
	var manifests strings.Builder
	manifests.WriteString(app{name: "client", replicas: 1}.String() + app{name: "outside", replicas: 1, bare: true}.String())
	for _, server := range servers {
		for _, bare := range []bool{false, true} {
			own := t.TempDir()
			p := server(own)
			if bare {
				p.name, p.bare = plainPrefix+p.name, true
			}
			giveTo(t, p.user, own)
			manifests.WriteString(p.manifest(t))
		}
	}
	return &pairs{startMesh(t, manifests.String())}
}

// giveTo makes a directory that of a user; others may read it.
func giveTo(t *testing.T, name, dir string) {
	t.Helper()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if name != "" {
		uid, gid := userIDs(t, name)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

func userIDs(t *testing.T, name string) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		t.Fatal(err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// compare has the same said by both clients to both servers. Without a sidecar at either end all must end as wanted, a list of
// "name status" or "name error"; with one at the client, the server, or both, exactly so.
func (p *pairs) compare(t *testing.T, server, want string, talk func(t *testing.T, from, server string) []exchange) {
	t.Helper()
	plain := talk(t, outside, plainPrefix+server)
	if got := ended(plain); got != want {
		t.Fatalf("without the mesh:\n%s\nwant\n%s\n%+v", got, want, plain)
	}
	for _, pair := range [][2]string{{client, plainPrefix + server}, {outside, server}, {client, server}} {
		if diff := cmp.Diff(plain, talk(t, pair[0], pair[1])); diff != "" {
			t.Errorf("%s to %s: the mesh changes what the client sees (-without +with):\n%s", pair[0], pair[1], diff)
		}
	}
}

// secured checks that what client has said to a server came by mutual TLS.
func (p *pairs) secured(t *testing.T, servers ...string) {
	t.Helper()
	(&compared{meshed: p.mesh}).secured(t, servers...)
}

// programs runs commands for lines "name command…", each by a shell in the pod from; SERVER is the server's name.
func (m *mesh) programs(t *testing.T, from, server, lines string) []exchange {
	t.Helper()
	var all []exchange
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		name, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		code, out, errOut := m.exec(t, from, "sh", "-c", strings.ReplaceAll(command, "SERVER", server))
		e := exchange{Name: name, Status: code, Body: strings.ReplaceAll(summary([]byte(out)), server, "SERVER")}
		if code != 0 {
			e.Body += strings.ReplaceAll(errOut, server, "SERVER")
		}
		all = append(all, e)
	}
	return all
}
