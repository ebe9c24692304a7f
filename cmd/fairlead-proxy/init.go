package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"fairlead.dev/fairlead/internal/redirect"
)

// exitNotRedirected is how `init --verify` says that the rules are missing. The repair of `install-cni` acts on this
// code and no other.
const exitNotRedirected = 126

// initialise parses the flags of `fairlead-proxy init` and writes the rules.
func initialise(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("init", flag.ContinueOnError)
	options := redirect.Flags(fs)
	remove := fs.Bool("remove", false, "remove the rules")
	dry := fs.Bool("dry-run", false, "print the rules as nft would and change nothing")
	verify := fs.Bool("verify", false, "only try whether the rules are in force; needs no capability, and exits with 126 where they are not")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *remove {
		return redirect.Remove()
	}
	o, err := options()
	if err != nil {
		return err
	}
	rules, err := redirect.Plan(o)
	if err != nil {
		return err
	}
	switch {
	case *dry:
		fmt.Fprint(out, rules.String())
		return nil
	case *verify:
		return verified(redirect.Verify(ctx, o), out)
	}
	if err := redirect.PrepareLoopback(); err != nil {
		return err
	}
	return redirect.Apply(rules)
}

// verified says what to do about what was found.
func verified(err error, out io.Writer) error {
	if err == nil {
		fmt.Fprintln(out, "traffic of this pod is redirected to the sidecar")
		return nil
	}
	if errors.Is(err, redirect.ErrNotRedirected) {
		return exitError{
			code: exitNotRedirected,
			err:  fmt.Errorf("%w; was the pod started before fairlead-cni was ready on this node?", err),
		}
	}
	return err
}
