package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// judge gives the problems of objects that were read, those of reading among them. Its problems need no position: the
// field is looked up in the object.
type judge func(objects []source.Object, read []model.Problem, clusterDomain string) []model.Problem

const defaultClusterDomain = "cluster.local"

// validation is what `fairlead validate` does.
type validation struct {
	paths []string
	// stdin is read where paths name it; namespace is that of objects which name none.
	stdin     io.Reader
	namespace string
	// output is text, json or yaml.
	output        string
	clusterDomain string
	// judge is asked once all objects are read.
	judge judge
}

// findings is what a validation found.
type findings struct {
	objects, files int
	problems       []model.Problem // by file and line
	bystanders     map[string]int  // see file.Manifests
}

func (f *findings) count(s model.Severity) int {
	n := 0
	for i := range f.problems {
		if f.problems[i].Severity == s {
			n++
		}
	}
	return n
}

// newValidateCommand is `fairlead validate`.
func newValidateCommand(a *app, judge judge) *cobra.Command {
	v := validation{judge: judge}
	cmd := &cobra.Command{
		Use:   "validate -f FILE|DIR|-…",
		Short: "Check manifests as the mesh would read them, without one",
		Long: "Reads manifests as the control plane would and prints one line for each mistake: unknown and misplaced fields,\n" +
			"wrong types, and values that cannot work. Exits with 1 where an object would be refused.",
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			v.paths, v.stdin, v.namespace = append(v.paths, args...), a.In, a.namespace
			refused, err := v.run(a.Out)
			if err == nil && refused {
				err = exitCode(1)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVarP(&v.paths, "filename", "f", nil, "file or directory, - for standard input; may be given several times, later ones override earlier ones")
	addOutputFlag(cmd.Flags(), &v.output, text, "json", "yaml")
	cmd.Flags().StringVar(&v.clusterDomain, "cluster-domain", defaultClusterDomain, "what Service names end in")
	return cmd
}

// run validates and prints. refused is set where an object would be.
func (v *validation) run(out io.Writer) (refused bool, err error) {
	if len(v.paths) == 0 {
		return false, errors.New("nothing to validate: name files or directories with -f")
	}
	found, err := v.find()
	if err != nil {
		return false, err
	}
	if v.output == text {
		err = found.print(out)
	} else {
		err = printValue(out, v.output, found.printed())
	}
	return found.count(model.Rejected) > 0, err
}

// find reads the manifests and collects the problems of reading, of each object, and between objects.
func (v *validation) find() (*findings, error) {
	read, err := file.Load(file.LoadOptions{Paths: v.paths, Stdin: v.stdin, Namespace: v.namespace})
	if err != nil {
		return nil, err
	}
	found := &findings{objects: len(read.Objects), bystanders: read.Bystanders}
	files := map[string]struct{}{}
	for i := range read.Objects {
		files[read.Objects[i].Pos.File] = struct{}{}
	}
	problems := v.judge(read.Objects, read.Problems, v.clusterDomain)
	locate(problems, read.Objects)
	for i := range problems {
		files[problems[i].Pos.File] = struct{}{}
	}
	slices.SortStableFunc(problems, func(a, b model.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
	found.files, found.problems = len(files), slices.Compact(problems)
	return found, nil
}

// locate finds the place of problems that name an object and a field only.
func locate(problems []model.Problem, objects []source.Object) {
	byRef := make(map[model.Ref]*source.Object, len(objects))
	for i := range objects {
		byRef[objects[i].Ref] = &objects[i]
	}
	for i := range problems {
		if o := byRef[problems[i].Ref]; o != nil && problems[i].Pos == (model.Position{}) {
			problems[i].Pos = o.Locate(problems[i].Field)
		}
	}
}

// leftOut says in one line which objects mean nothing to a mesh; it is empty where there are none.
func (f *findings) leftOut() string {
	total := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(f.bystanders)) {
		total += f.bystanders[kind]
		kinds = append(kinds, fmt.Sprintf("%d %s", f.bystanders[kind], kind))
	}
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("%s left out, of kinds that mean nothing to a mesh: %s", plural(total, "object"), strings.Join(kinds, ", "))
}

// print writes one line for each problem and one for the whole.
func (f *findings) print(out io.Writer) error {
	for _, p := range f.problems {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	what := "no problems found"
	mark := "✔"
	if errs, warnings := f.count(model.Rejected), f.count(model.Warning); errs > 0 {
		mark, what = "✘", plural(errs, "error")+", "+plural(warnings, "warning")
	} else if warnings > 0 {
		what = "no errors, " + plural(warnings, "warning")
	}
	if line := f.leftOut(); line != "" {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%s %s in %s: %s\n", mark, plural(f.objects, "object"), plural(f.files, "file"), what)
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printedProblem is a problem in JSON.
type printedProblem struct {
	Severity  string `json:"severity"` // "error" or "warning"
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Fix       string `json:"fix,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

// printedFindings are findings in JSON.
type printedFindings struct {
	Objects  int              `json:"objects"`
	Files    int              `json:"files"`
	Problems []printedProblem `json:"problems"`
	// LeftOut counts by kind the objects of kinds that mean nothing to a mesh.
	LeftOut map[string]int `json:"leftOut,omitempty"`
}

func (f *findings) printed() printedFindings {
	printed := printedFindings{Objects: f.objects, Files: f.files, Problems: []printedProblem{}, LeftOut: f.bystanders}
	for _, p := range f.problems {
		printed.Problems = append(printed.Problems, printedProblem{
			Severity: p.Severity.String(), Kind: p.Ref.Kind, Namespace: p.Ref.Namespace, Name: p.Ref.Name,
			Field: p.Field, Message: p.Message, Fix: p.Fix, File: p.Pos.File, Line: p.Pos.Line,
		})
	}
	return printed
}
