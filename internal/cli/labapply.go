package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// labChange is what `lab apply` and `lab delete` do with the objects that were read.
type labChange func(*lab.Client, []source.Object) ([]lab.Changed, error)

// newLabApplyCommand is "fairlead lab apply". Where one object would be refused, none is put in force: a user who is told
// of an error must not find half of a change at work.
func newLabApplyCommand(a *app, judge judge) *cobra.Command {
	return a.changeCommand("apply -f DIR|FILE|-…", "Put objects in force, over those of the lab's directories: all of them, or none", (*lab.Client).Apply,
		func(m *file.Manifests) []model.Problem {
			judged := judge(m.Objects, nil, defaultClusterDomain)
			// Warnings are about what these objects miss, which the lab may have.
			judged = slices.DeleteFunc(judged, func(p model.Problem) bool { return p.Severity != model.Rejected })
			locate(judged, m.Objects)
			return append(m.Problems, judged...)
		})
}

// newLabDeleteCommand is "fairlead lab delete". What can be read is deleted.
func newLabDeleteCommand(a *app) *cobra.Command {
	return a.changeCommand("delete -f DIR|FILE|-…", "Take objects out of force; your files stay as they are", (*lab.Client).Delete,
		func(m *file.Manifests) []model.Problem {
			for i := range m.Problems {
				fmt.Fprintln(a.Err, m.Problems[i].String())
			}
			return nil
		})
}

// changeCommand reads manifests and does something with their objects unless problems gives one that refuses them.
func (a *app) changeCommand(use, short string, do labChange, problems func(*file.Manifests) []model.Problem) *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			read, err := file.Load(file.LoadOptions{Paths: paths, Stdin: a.In, Namespace: a.namespace, Data: true})
			if err != nil {
				return err
			}
			refused := false
			for _, p := range problems(&read) {
				fmt.Fprintln(a.Err, p.String())
				refused = refused || p.Severity == model.Rejected
			}
			if refused {
				return errors.New("nothing was put in force: mend what is refused, or leave it out")
			}
			changed, err := do(c, read.Objects)
			for _, ch := range changed {
				fmt.Fprintf(a.Out, "%s %s\n", ch.Ref, ch.Verb)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVarP(&paths, "filename", "f", nil, "manifests: files and directories, or - for standard input")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}
