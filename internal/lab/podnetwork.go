package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// podNetwork is the second part of the addresses of a lab's pods, 10.N.0.0/16 and fd00:10:N::/112. Labs of one directory that run
// at the same time have different ones, so that they can be linked. The node's own addresses are the same in every lab: they are
// not called from another one, where what the node sends itself has the address nodeAbroad.
type podNetwork int

// firstPodNetwork is that of a lab which is alone, as in a usual cluster; below minPodNetwork are the addresses of Services.
const (
	firstPodNetwork podNetwork = 244
	minPodNetwork   podNetwork = 128
	maxPodNetwork   podNetwork = 254
)

// parsePodNetwork reads what a user chose.
func parsePodNetwork(s string) (podNetwork, error) {
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4() && p.Bits() == 16 && p == p.Masked() {
		a := p.Addr().As4()
		if n := podNetwork(a[1]); a[0] == 10 && n >= minPodNetwork && n <= maxPodNetwork {
			return n, nil
		}
	}
	return 0, fmt.Errorf("--pod-network %q: write one of 10.%d.0.0/16 to 10.%d.0.0/16", s, minPodNetwork, maxPodNetwork)
}

func (n podNetwork) v4() netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n)) }

func (n podNetwork) v6() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:10:%d::/112", n))
}

// prefixes are those of a lab's families.
func (n podNetwork) prefixes(family IPFamily) []netip.Prefix {
	switch family {
	case IPv4:
		return []netip.Prefix{n.v4()}
	case IPv6:
		return []netip.Prefix{n.v6()}
	case DualStack:
	}
	return []netip.Prefix{n.v4(), n.v6()}
}

// choosePodNetwork gives the network that was asked for, or else the first one that no other lab in the directory has, and calls
// keep with it before another lab can choose.
func (s state) choosePodNetwork(asked string, keep func(podNetwork) error) error {
	base := filepath.Dir(string(s))
	dir, err := os.Open(base)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", base, err)
	}
	taken, err := podNetworksIn(base, s.name())
	if err != nil {
		return err
	}
	if asked != "" {
		n, err := parsePodNetwork(asked)
		if err == nil && taken[n] != "" {
			err = fmt.Errorf("--pod-network %s: lab %q has it", asked, taken[n])
		}
		if err != nil {
			return err
		}
		return keep(n)
	}
	for _, n := range podNetworks() {
		if taken[n] == "" {
			return keep(n)
		}
	}
	return errors.New("no network for pods is left: there are too many labs")
}

// podNetworks lists the networks in the order in which labs get them.
func podNetworks() []podNetwork {
	var out []podNetwork
	for n := firstPodNetwork; n <= maxPodNetwork; n++ {
		out = append(out, n)
	}
	for n := minPodNetwork; n < firstPodNetwork; n++ {
		out = append(out, n)
	}
	return out
}

// podNetworksIn gives the names of the running labs of a directory, but for one, by their networks.
func podNetworksIn(base, except string) (map[podNetwork]string, error) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, err
	}
	taken := make(map[podNetwork]string)
	for _, e := range entries {
		s := state(filepath.Join(base, e.Name()))
		if e.Name() == except || !e.IsDir() || !s.running() {
			continue
		}
		cfg, err := s.readConfig()
		if err != nil {
			continue // it is just coming up, or going
		}
		taken[cfg.podNetwork()] = e.Name()
	}
	return taken, nil
}

// readConfig gives what Up told the supervisor.
func (s state) readConfig() (config, error) {
	var cfg config
	raw, err := os.ReadFile(s.config())
	if err == nil {
		err = json.Unmarshal(raw, &cfg)
	}
	return cfg, err
}

// podNetwork is that of the lab; one of an older program has none written down.
func (c *config) podNetwork() podNetwork {
	if c.PodNetwork == 0 {
		return firstPodNetwork
	}
	return c.PodNetwork
}

// clusterName is what the lab's cluster is called in metrics, and by labs that it is linked to.
func (c *config) clusterName() string {
	const flag = "--cluster-id="
	for _, f := range slices.Backward(c.MeshFlags) {
		if len(f) > len(flag) && f[:len(flag)] == flag {
			return f[len(flag):]
		}
	}
	return c.Name
}
