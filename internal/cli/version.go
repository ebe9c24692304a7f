package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
)

// versionReport is which versions there are and how many of each.
type versionReport struct {
	Client       string         `json:"clientVersion"`
	ControlPlane []versionCount `json:"controlPlane,omitempty"`
	DataPlane    []versionCount `json:"dataPlane,omitempty"`
	// Unavailable is why the mesh did not answer, where there is one to ask.
	Unavailable string `json:"unavailable,omitempty"`
}

type versionCount struct {
	Version string `json:"version"`
	Count   int    `json:"count"`
}

// newVersionCommand is "fairlead version".
func newVersionCommand(a *app) *cobra.Command {
	var clientOnly bool
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, of the control plane and of the sidecars",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := versionReport{Client: a.Version}
			if !clientOnly {
				a.askVersions(cmd, &r)
			}
			if output == text {
				return r.print(a.Out)
			}
			return printValue(a.Out, output, r)
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only the version of this program; asks no cluster")
	addOutputFlag(cmd.Flags(), &output, text, "json", "yaml")
	a.addLabFlag(cmd)
	return cmd
}

// askVersions adds what the mesh says. That it says nothing is no error: the version of the program is known.
func (a *app) askVersions(cmd *cobra.Command, r *versionReport) {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.Brief)
	defer cancel()
	err := func() error {
		m, err := a.mesh(cmd)
		if err != nil {
			return err
		}
		places, err := m.controllers(ctx)
		if err != nil {
			return err
		}
		control, err := readAll(ctx, places, admin.Client.Version)
		r.ControlPlane = count(control)
		if err != nil {
			return err
		}
		rows, err := readSync(ctx, places)
		var data []string
		for i := range rows {
			data = append(data, rows[i].Version)
		}
		r.DataPlane = count(data)
		return err
	}()
	if err != nil && !errors.Is(err, cluster.ErrNoCluster) {
		r.Unavailable = err.Error()
	}
}

// count gives each version once, in order, with how many processes have it.
func count(said []string) []versionCount {
	counts := map[string]int{}
	for _, v := range said {
		counts[v]++
	}
	var list []versionCount
	for _, v := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, versionCount{v, counts[v]})
	}
	return list
}

func (r *versionReport) print(w io.Writer) error {
	fmt.Fprintf(w, "client version: %s\n", r.Client)
	for _, line := range []struct {
		what, noun string
		counts     []versionCount
	}{{"control plane", "pod", r.ControlPlane}, {"data plane", "sidecar", r.DataPlane}} {
		if len(line.counts) == 0 {
			continue
		}
		var parts []string
		for _, c := range line.counts {
			parts = append(parts, fmt.Sprintf("%s (%s)", c.Version, plural(c.Count, line.noun)))
		}
		fmt.Fprintf(w, "%s version: %s\n", line.what, strings.Join(parts, ", "))
	}
	if r.Unavailable != "" {
		fmt.Fprintf(w, "not available: %s\n", r.Unavailable)
	}
	return nil
}
