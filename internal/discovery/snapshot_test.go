package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/plan"
)

// withSnapshot makes a client that no control plane answers keep its snapshot in path.
func withSnapshot(t *testing.T, path string, h Handler, log *lockedBuffer) *Client {
	t.Helper()
	w := &world{addr: "127.0.0.1:1"}
	_, w.clientTLS = testTLS()
	return w.client(t, h, func(o *ClientOptions) {
		o.Snapshot = path
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no control plane there")
		}
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
}

// filled leaves a snapshot of a small state behind and gives its path.
func filled(t *testing.T, source *fakeSource) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "snapshot")
	source.set(t, alias, users("a"), shard("eps/users:8080/s1", "10.0.0.1:8080"))
	source.set(t, "mesh", global("test"))
	source.set(t, "seal/users", &plan.Seal{Name: "seal/users", Keys: []string{secretKey}})
	source.set(t, "cred/shop/a", &plan.Credential{Name: "cred/shop/a", Key: secretKey})
	source.set(t, "roots/shop/a", &plan.Credential{Name: "roots/shop/a", CA: secretKey})
	w := start(t, source)
	c := w.client(t, newRecorder(), func(o *ClientOptions) { o.Snapshot = path })
	stop := run(t, c)
	await(t, c, alias, "mesh", "host/nobody:80", "seal/users", "cred/shop/a", "roots/shop/a")
	stop()
	return path
}

// secretKey stands for a key: no file may have it.
const secretKey = "a key of sessions"

// Keys are kept in memory alone.
func TestSnapshotHasNoKeys(t *testing.T) {
	raw, err := os.ReadFile(filled(t, newFakeSource()))
	if err != nil || !bytes.Contains(raw, []byte("eps/users:8080/s1")) {
		t.Fatalf("the snapshot, %v: %q", err, raw)
	}
	if bytes.Contains(raw, []byte(secretKey)) {
		t.Errorf("the snapshot has a key: %q", raw)
	}
}

func TestSnapshotColdStart(t *testing.T) {
	source := newFakeSource()
	path := filled(t, source)

	// Without a control plane.
	h := newRecorder()
	var log lockedBuffer
	c := withSnapshot(t, path, h, &log)
	stop := run(t, c)
	await(t, c, alias, "mesh")
	want := []string{"eps/users:8080/s1", "dst/myapp/users:8080 as " + alias, "mesh"}
	if diff := cmp.Diff(want, h.take()); diff != "" {
		t.Errorf("updates of a cold start (-want +got):\n%s", diff)
	}
	if !c.Stale() || c.Connected() || !c.LastSync().IsZero() {
		t.Errorf("Stale = %v, Connected = %v, LastSync = %v", c.Stale(), c.Connected(), c.LastSync())
	}
	stop()

	// With one, and a change since.
	var wire traffic
	again := start(t, source, wire.hook)
	source.set(t, "mesh", global("changed"))
	h = newRecorder()
	c = again.client(t, h, func(o *ClientOptions) { o.Snapshot = path })
	run(t, c)
	eventually(t, "the client is in step", func() bool { return !c.Stale() && !c.LastSync().IsZero() })
	if diff := cmp.Diff([]string{"mesh=body"}, wire.untilSynced(t)); diff != "" {
		t.Errorf("sent to a client with a snapshot (-want +got):\n%s", diff)
	}
}

func TestSnapshotHoldsNamesOnLease(t *testing.T) {
	source := newFakeSource()
	path := filled(t, source)
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		w := serve(t, l, source)
		c := w.client(t, newRecorder(), func(o *ClientOptions) { o.Snapshot, o.Dial = path, l.Dial })
		stop := run(t, c)
		defer func() { stop(); w.stop() }()
		c.Subscribe("mesh") // asked for again
		sleep(DefaultLease + time.Minute)
		if diff := cmp.Diff(map[string]string{"mesh": c.Versions()["mesh"]}, c.Versions()); diff != "" {
			t.Errorf("resources after the lease (-want +got):\n%s", diff)
		}
	})
}

// What was not there may be by now: a snapshot that says so is not believed.
func TestSnapshotHoldsNothingMissing(t *testing.T) {
	path := filled(t, newFakeSource())
	state, err := readSnapshot(path, "orders-1.myapp")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range state.Resources {
		if a.Version == "" {
			t.Errorf("the snapshot says that %s does not exist", a.Name)
		}
	}
	state.Resources = append(state.Resources, Answer{Name: "host/nobody:80"})
	payload := state.append(nil)
	sum := sha256.Sum256(payload)
	if err := writeFile(path, []byte(snapshotMagic+"orders-1.myapp\n"), sum[:], payload); err != nil {
		t.Fatal(err)
	}
	h := newRecorder()
	c := withSnapshot(t, path, h, new(lockedBuffer))
	stop := run(t, c)
	await(t, c, "mesh")
	stop()
	if lines := h.take(); slices.Contains(lines, "host/nobody:80 absent") {
		t.Errorf("updates = %q", lines)
	}
}

func TestSnapshotUnusable(t *testing.T) {
	path := filled(t, newFakeSource())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	tests := []struct {
		name, want string
		content    []byte
	}{
		{"empty", "not a snapshot", nil},
		{"truncated_early", "truncated", good[:60]},
		{"truncated_late", "checksum does not match", good[:len(good)-1]},
		{"one_bit", "checksum does not match", flipped},
		{"somebody_else's", `it belongs to \"users-9.myapp\"`, bytes.Replace(good, []byte("orders-1.myapp"), []byte("users-9.myapp"), 1)},
		{"another_file", "not a snapshot", []byte("#!/bin/sh\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			var log lockedBuffer
			h := newRecorder()
			stop := run(t, withSnapshot(t, path, h, &log))
			eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "snapshot not usable, starting empty") })
			stop()
			if !strings.Contains(log.String(), tt.want) || len(h.take()) != 0 {
				t.Errorf("log = %s, want %q", log.String(), tt.want)
			}
		})
	}
}

func TestSnapshotNotWritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "missing")
		path := filepath.Join(dir, "snapshot")
		source, l := newFakeSource(), newPipeListener()
		w := serve(t, l, source)
		var log lockedBuffer
		c := w.client(t, newRecorder(), func(o *ClientOptions) {
			o.Snapshot, o.Dial, o.Logger = path, l.Dial, slog.New(slog.NewTextHandler(&log, nil))
		})
		stop := run(t, c)
		for _, id := range []string{"a", "b", "c"} {
			source.set(t, "mesh", global(id))
			await(t, c, "mesh")
			sleep(3 * time.Second)
		}
		if n := strings.Count(log.String(), "snapshot not written"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log.String())
		}
		// The disk is back.
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		source.set(t, "mesh", global("d"))
		sleep(3 * time.Second)
		if _, err := readSnapshot(path, "orders-1.myapp"); err != nil {
			t.Errorf("snapshot after the disk came back: %v", err)
		}
		stop()
		w.stop()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("directory holds %v (error %v), want the snapshot only", entries, err)
		}
	})
}

func TestWriteFileOnAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	if err := writeFile(path, []byte("good")); err != nil {
		t.Fatal(err)
	}
	// A directory in the way of the rename stands for every failure after the temporary file was made.
	blocked := filepath.Join(t.TempDir(), "blocked")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(blocked, []byte("new")); err == nil {
		t.Error("writeFile over a directory succeeded")
	}
	entries, err := os.ReadDir(filepath.Dir(blocked))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v (error %v)", entries, err)
	}
}
