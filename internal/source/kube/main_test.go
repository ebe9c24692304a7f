package kube

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestMain fails if a goroutine of this package outlives its Run.
func TestMain(m *testing.M) {
	code := m.Run()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n")[1:] {
		if strings.Contains(stack, "fairlead/internal/source/kube.") {
			fmt.Fprintln(os.Stderr, "left behind:\n"+stack)
			code = 1
		}
	}
	os.Exit(code)
}
