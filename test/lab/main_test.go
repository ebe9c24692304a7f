package lab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin is the directory with the binaries under test, built by TestMain.
var bin string

// long selects the long form of the stories that have one.
var long = os.Getenv("FAIRLEAD_LONG") == "1"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == blackHoleCommand { // inside a pod, see there
		if err := blackHole(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == cutCommand { // as well
		if err := cut(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == countCommand { // as well
		if err := countCalls(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// buildAndRun builds the commands as the Makefile does and runs the tests with them.
func buildAndRun(m *testing.M) (code int, err error) {
	if bin, err = os.MkdirTemp("", "fairlead-stories-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(bin)
	// The sidecars of a lab that root started have a user of their own, who runs what is in it.
	if err := os.Chmod(bin, 0o755); err != nil {
		return 1, err
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "fairlead.dev/fairlead/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func binary(name string) string { return filepath.Join(bin, name) }
