package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// The snapshot file is one line of text, a SHA-256, and the state as a DeltaResponse with shards first. It holds
// nothing secret: the only resources with keys, seals and credentials, are left out.

const (
	snapshotMagic = "fairlead-snapshot-1 "
	// snapshotQuiet is how long changes are gathered before they are written.
	snapshotQuiet = time.Second
	// snapshotMax bounds what is read back, in bytes.
	snapshotMax = 256 << 20
)

// snapshots keep the state of a client in a file.
type snapshots struct{ *Client }

// saveSnapshots writes the file a moment after each change, and at the end. The first failure is logged; the next
// one after a success again.
func (c snapshots) saveSnapshots(ctx context.Context) {
	if c.o.Snapshot == "" {
		return
	}
	quiet := time.NewTimer(snapshotQuiet)
	quiet.Stop()
	defer quiet.Stop()
	pending, failing := false, false
	save := func() {
		err := c.saveSnapshot()
		if err != nil && !failing {
			c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "snapshot not written; without the control plane a restart would begin empty",
				slog.String("file", c.o.Snapshot), slog.Any("error", err))
		}
		pending, failing = false, err != nil
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.changed:
				pending = true
			default:
			}
			if pending {
				save()
			}
			return
		case <-c.changed:
			if !pending { // the first change starts the clock, later ones ride along
				pending = true
				quiet.Reset(snapshotQuiet)
			}
		case <-quiet.C:
			save()
		}
	}
}

func (c snapshots) saveSnapshot() error {
	payload, err := c.snapshot()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(payload)
	header := snapshotMagic + c.o.Node.ID + "\n"
	return writeFile(c.o.Snapshot, []byte(header), sum[:], payload)
}

// snapshot encodes the state in force, without what does not exist: that may have changed, and is asked for again at no
// cost. Versions are computed from the bytes written, not copied: should this program
// have dropped fields it does not know, its successor will be sent them.
func (c snapshots) snapshot() ([]byte, error) {
	c.mu.Lock()
	resources := maps.Clone(c.resources)
	aliases := make(map[string][]string)
	for n, st := range c.names {
		if st.canonical != "" {
			aliases[st.canonical] = append(aliases[st.canonical], n)
		}
	}
	c.mu.Unlock()

	var state Response
	for _, n := range slices.SortedFunc(maps.Keys(resources), shardsFirst) {
		if isSecret(n) {
			continue
		}
		body, err := Encode(resources[n].resource)
		if err != nil {
			return nil, err
		}
		slices.Sort(aliases[n])
		state.Resources = append(state.Resources, Answer{Name: n, Aliases: aliases[n], Version: Version(body), Body: body})
	}
	return state.append(nil), nil
}

// isSecret reports whether what a name names is kept in memory alone.
func isSecret(name string) bool {
	switch plan.KindOf(name) {
	case plan.NameSeal, plan.NameCredential, plan.NameRoots:
		return true
	case plan.NameUnknown, plan.NameDestination, plan.NamePod, plan.NameShard, plan.NameWorkload, plan.NameAddress, plan.NameHost,
		plan.NameInbound, plan.NameDNS, plan.NameTrust, plan.NameMesh, plan.NamePassage:
	}
	return false
}

// shardsFirst orders names so that a destination finds its endpoints.
func shardsFirst(a, b string) int {
	if sa, sb := isShard(a), isShard(b); sa != sb {
		if sa {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func isShard(n string) bool { return plan.KindOf(n) == plan.NameShard }

// writeFile replaces a file at once or not at all, also when the machine stops in the middle. The temporary name is
// always the same, so that a process that is killed again and again leaves one file behind, not many.
func writeFile(path string, parts ...[]byte) (err error) {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(f.Name()) // the first error is the one to report
		}
	}()
	for _, part := range parts {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// loadSnapshot puts the state of the last run in force. Its names are subscribed on lease: what the proxy does not
// ask for again goes.
func (c snapshots) loadSnapshot(ctx context.Context) {
	if c.o.Snapshot == "" {
		return
	}
	state, err := readSnapshot(c.o.Snapshot, c.o.Node.ID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "snapshot not usable, starting empty",
			slog.String("file", c.o.Snapshot), slog.Any("error", err))
		return
	}
	c.mu.Lock()
	for i := range state.Resources {
		for _, n := range state.Resources[i].Aliases {
			if _, ok := c.names[n]; !ok && len(c.names) < maxLeased {
				c.add(n)
			}
		}
	}
	c.stale = true
	c.mu.Unlock()
	// There is no conversation yet: the acknowledgement goes nowhere.
	c.applyResponse(ctx, delivery{session: &session{c: c.Client, wake: make(chan struct{}, 1)}, response: state})
	c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "snapshot loaded", slog.String("file", c.o.Snapshot),
		slog.Int("resources", len(state.Resources)))
}

func readSnapshot(path, node string) (*Response, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, snapshotMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > snapshotMax {
		return nil, fmt.Errorf("more than %d bytes", snapshotMax)
	}
	header, rest, _ := bytes.Cut(b, []byte("\n"))
	owner, ok := strings.CutPrefix(string(header), snapshotMagic)
	switch {
	case !ok:
		return nil, errors.New("not a snapshot")
	case owner != node:
		return nil, fmt.Errorf("it belongs to %q, not to %q", owner, node)
	case len(rest) < sha256.Size:
		return nil, errors.New("truncated")
	}
	payload := rest[sha256.Size:]
	if sum := sha256.Sum256(payload); !bytes.Equal(sum[:], rest[:sha256.Size]) {
		return nil, errors.New("the checksum does not match: truncated or damaged")
	}
	return parseResponse(payload)
}
