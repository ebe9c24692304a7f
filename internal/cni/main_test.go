package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"fairlead.dev/fairlead/internal/leaktest"
	"fairlead.dev/fairlead/internal/netnstest"
)

const (
	// networkPlugin is the test binary's name as a plugin that makes a pod's network, for ours to be chained to.
	networkPlugin = "test-network"
)

// TestMain lets the test binary be the plugins that a runtime calls, and runs the tests in a network namespace of
// their own. Root makes just that; another user makes a user namespace around it.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case Name:
		inv := Environ(os.Getenv)
		inv.Stdin, inv.Stdout, inv.Stderr = os.Stdin, os.Stdout, os.Stderr
		// Not os.Exit: the race detector would sleep for a second.
		syscall.Exit(Call(context.Background(), inv))
	case networkPlugin:
		syscall.Exit(makeNetwork(os.Stdin, os.Stdout))
	}
	os.Exit(netnstest.Run(func() int { return leaktest.Run(m.Run) }))
}

// makeNetwork is a network plugin that makes no network: its result has a field that no specification knows.
func makeNetwork(in io.Reader, out io.Writer) int {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.NewDecoder(in).Decode(&conf); err != nil {
		return 1
	}
	switch os.Getenv("CNI_COMMAND") {
	case "ADD":
		fmt.Fprintf(out, `{"cniVersion":%q,"ips":[{"address":"10.7.0.2/24"}],"dns":{}}`, conf.CNIVersion)
	case "VERSION":
		fmt.Fprint(out, `{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`)
	}
	return 0
}

// newNamespace makes the network namespace of a pod, with a default route to nowhere, and gives its path.
func newNamespace(t *testing.T) string {
	t.Helper()
	// The path is that of a thread in the namespace, which stays as long as the test.
	path, done := make(chan string, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread has changed and must not be used again
		if _, err := netns.New(); err != nil {
			t.Error(err)
		}
		if err := defaultRoute(); err != nil {
			t.Error(err)
		}
		path <- fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		<-done
	}()
	t.Cleanup(func() { close(done) })
	return <-path
}

// defaultRoute sends everything into a device whose other end is not read.
func defaultRoute() error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "void"}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("10.7.0.2/24")
	if err != nil {
		return err
	}
	gateway, err := netlink.ParseAddr("10.7.0.1/32")
	if err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	void, err := netlink.LinkByName("void")
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.AddrAdd(eth0, addr), netlink.LinkSetUp(eth0), netlink.LinkSetUp(void),
		netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.IP}),
	)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// invoke calls the plugin within this process.
func invoke(t *testing.T, inv Invocation, conf string) (code int, stdout, log string) {
	t.Helper()
	var out, errs bytes.Buffer
	inv.Stdin, inv.Stdout, inv.Stderr = bytes.NewReader([]byte(conf)), &out, &errs
	code = Call(t.Context(), inv)
	return code, out.String(), errs.String()
}
