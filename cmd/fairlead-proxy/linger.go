package main

import (
	"context"
	"flag"
	"fmt"
	"time"
)

// linger returns after a while. As the preStop hook of a sidecar that is an ordinary container it puts off the
// sidecar's SIGTERM, which all containers of a pod are otherwise sent at once: meanwhile the app, told to end, can
// still call others.
func linger(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("linger", flag.ContinueOnError)
	length := fs.Duration("for", 5*time.Second, "how long")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *length < 0 {
		return fmt.Errorf("--for %s: write a duration such as 5s", *length)
	}
	timer := time.NewTimer(*length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
