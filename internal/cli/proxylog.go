package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newSidecarLogCommand is "fairlead proxy-config log": how much a sidecar logs, and more or less of it.
func newSidecarLogCommand(a *app) *cobra.Command {
	var level string
	var reset bool
	cmd := &cobra.Command{
		Use: "log POD", Short: "How much a sidecar logs; --level changes it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			page := admin.Client.Logging
			if reset && level != "" {
				return errors.New("choose one: --level or --reset")
			}
			to, err := "initial", error(nil)
			if level != "" {
				to, err = wantedLevel(level)
			}
			if err != nil {
				return err
			}
			if level != "" || reset {
				page = func(c admin.Client, ctx context.Context) (admin.Logging, error) { return c.SetLogging(ctx, to) }
			}
			have, err := readSidecar(cmd, a, args[0], page)
			if old, ok := errors.AsType[*admin.PageError](err); ok && old.Code == 404 {
				return fmt.Errorf("the sidecar is older than this command: %w", err)
			}
			if envoy, ok := errors.AsType[*admin.PageError](err); ok && envoy.Code == 405 {
				return fmt.Errorf("the sidecar is an Envoy, which tells and sets its levels by POST /logging?level=debug at port 15000 of its pod's loopback: %w", err)
			}
			if err != nil {
				return err
			}
			if output := cmd.Flag("output").Value.String(); !isTable(output) {
				return printValue(a.Out, output, have)
			}
			_, err = fmt.Fprintf(a.Out, "level: %s (at the beginning: %s)\n", have.Level, have.Initial)
			return err
		},
	}
	cmd.Flags().StringVar(&level, "level", "", "debug, info, warn or error, until the sidecar restarts")
	cmd.Flags().BoolVarP(&reset, "reset", "r", false, "the level that the sidecar began with")
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

// wantedLevel reads --level, as istioctl takes it: LEVEL, or SCOPE:LEVEL with the one scope that there is, "all".
func wantedLevel(level string) (string, error) {
	scope, of, scoped := strings.Cut(level, ":")
	if scoped && scope != "all" {
		return "", fmt.Errorf("--level %q: a sidecar has no scopes; write --level %s", level, of)
	}
	if scoped {
		level = of
	}
	if _, err := admin.ParseLogLevel(level); err != nil {
		return "", fmt.Errorf("--level %w", err)
	}
	return level, nil
}
