package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/internal/cni"
)

// isPlugin reports whether the container runtime calls the program: it does so by the plugin's name and without
// arguments.
func isPlugin(arg0 string) bool { return filepath.Base(arg0) == cni.Name }

// plugin serves one call of the container runtime. What is wrong goes to out, as the specification wants.
func plugin(ctx context.Context, out io.Writer) error {
	inv := cni.Environ(os.Getenv)
	inv.Stdin, inv.Stdout, inv.Stderr = os.Stdin, out, os.Stderr
	if code := cni.Call(ctx, inv); code != 0 {
		return exitError{code: code, err: errors.New("cni: the call failed; the error object is on standard output")}
	}
	return nil
}
