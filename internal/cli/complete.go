package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/internal/lab"
)

// completion gives the words that may stand where the user pressed the tabulator; the shell filters them by what is typed.
type completion func(ctx context.Context, cmd *cobra.Command) []string

// completeArgument completes the first argument of cmd. Mistakes give no words: a shell's line is no place for messages.
func completeArgument(a *app, cmd *cobra.Command, words completion) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), a.Brief)
		defer cancel()
		return words(ctx, cmd), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags gives the words of every flag that takes one of a few.
func completeFlags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if o, ok := f.Value.(*oneOf); ok {
			// It fails only for a flag that is not there or done twice.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(o.words, cobra.ShellCompDirectiveNoFileComp))
		}
	})
}

// labPods are the pods of the lab in the namespace at hand, and the workloads by which one of their pods may be named.
func (a *app) labPods(ctx context.Context, _ *cobra.Command) []string {
	c, err := a.lab()
	if err != nil {
		return nil
	}
	st, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	var words []string
	for i := range st.Pods {
		p := &st.Pods[i]
		if p.Namespace != a.inNamespace() {
			continue
		}
		words = append(words, p.Name)
		switch p.OwnerKind {
		case "Deployment":
			words = append(words, "deploy/"+p.Owner)
		case "StatefulSet":
			words = append(words, "statefulset/"+p.Owner)
		case "DaemonSet":
			words = append(words, "daemonset/"+p.Owner)
		case "Job":
			words = append(words, "job/"+p.Owner)
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// sidecars are the pods that are connected to the control plane: by their names in the namespace at hand, with their
// namespace elsewhere.
func (a *app) sidecars(ctx context.Context, cmd *cobra.Command) []string {
	m, err := a.mesh(cmd)
	if err != nil {
		return nil
	}
	places, err := m.controllers(ctx)
	if err != nil {
		return nil
	}
	rows, _ := readSync(ctx, places) // of those that answer
	var words []string
	for i := range rows {
		if here := "." + m.namespace; rows[i].Namespace == m.namespace {
			words = append(words, strings.TrimSuffix(rows[i].ID, here))
		} else if a.namespace == "" {
			words = append(words, rows[i].ID)
		}
	}
	return words
}

// labs are the running ones.
func (a *app) labs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := lab.Running(a.labState)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
