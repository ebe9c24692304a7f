package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/lab"
)

// newLabLinkCommand is "fairlead lab link".
func newLabLinkCommand(a *app) *cobra.Command {
	separate, mirrorsOnly := false, false
	link := func(ctx context.Context, one, other *lab.Client) error {
		switch {
		case separate && mirrorsOnly:
			return errors.New("--separate-networks and --mirrors-only: one of the two")
		case separate:
			return lab.LinkSeparate(ctx, one, other)
		case mirrorsOnly:
			return lab.LinkForMirrors(ctx, one, other)
		}
		return lab.Link(ctx, one, other)
	}
	cmd := linkCommand(a, "link LAB LAB", "Make one mesh of two labs: their pods call each other, Services of one name are one", link,
		"labs %q and %q are one mesh\n")
	cmd.Flags().BoolVar(&separate, "separate-networks", false, "pods of one lab do not reach those of the other, but for a gateway that each lab gets")
	cmd.Flags().BoolVar(&mirrorsOnly, "mirrors-only", false, "Services of one name stay two: of the other lab only what Links mirror can be called")
	return cmd
}

// newLabUnlinkCommand is "fairlead lab unlink".
func newLabUnlinkCommand(a *app) *cobra.Command {
	return linkCommand(a, "unlink LAB LAB", "End what lab link made: the endpoints of each leave the other at once", lab.Unlink,
		"labs %q and %q are two meshes\n")
}

// linkCommand does something with two labs.
func linkCommand(a *app, use, short string, do func(ctx context.Context, one, other *lab.Client) error, done string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			one, err := lab.Open(a.labState, args[0])
			if err != nil {
				return err
			}
			other, err := lab.Open(a.labState, args[1])
			if err != nil {
				return err
			}
			if err := do(cmd.Context(), one, other); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, done, args[0], args[1])
			return nil
		},
	}
}
