package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/config/gwapi"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/config/smi"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// crossCheck finds the mistakes that take more than one object to see, such as a route to a subset that no
// DestinationRule has. Its problems need no position: the field is looked up in the object.
type crossCheck func(objects []source.Object, clusterDomain string) []model.Problem

// validation is what `fairlead validate` does.
type validation struct {
	paths []string
	// output is text, json or yaml.
	output        string
	clusterDomain string
	// across is asked once all objects are read; nil asks nothing.
	across crossCheck
}

// findings is what a validation found.
type findings struct {
	objects, files int
	problems       []model.Problem // by file and line
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

// newValidateCommand is `fairlead validate`. across is what is checked between objects.
func newValidateCommand(a *app, across crossCheck) *cobra.Command {
	v := validation{across: across}
	cmd := &cobra.Command{
		Use:   "validate -f FILE|DIR…",
		Short: "Check manifests as the mesh would read them, without one",
		Long: "Reads manifests as the control plane would and prints one line for each mistake: unknown and misplaced fields,\n" +
			"wrong types, and values that cannot work. Exits with 1 where an object would be refused.",
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			v.paths = append(v.paths, args...)
			refused, err := v.run(a.Out)
			if err == nil && refused {
				err = exitCode(1)
			}
			return err
		},
	}
	cmd.Flags().StringSliceVarP(&v.paths, "filename", "f", nil, "file or directory; may be given several times, later ones override earlier ones")
	addOutputFlag(cmd.Flags(), &v.output, text, "json", "yaml")
	cmd.Flags().StringVar(&v.clusterDomain, "cluster-domain", "cluster.local", "what Service names end in")
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
	objects, problems, err := file.Read(v.paths)
	if err != nil {
		return nil, err
	}
	found := &findings{objects: len(objects)}
	files := map[string]struct{}{}
	for i := range problems {
		files[problems[i].Pos.File] = struct{}{}
	}
	located := make(map[model.Ref]*source.Object, len(objects))
	for i := range objects {
		o := &objects[i]
		files[o.Pos.File] = struct{}{}
		located[o.Ref] = o
		problems = append(problems, translate(o.Value, v.clusterDomain)...)
	}
	if v.across != nil {
		problems = append(problems, v.across(objects, v.clusterDomain)...)
	}
	for i := range problems {
		if o := located[problems[i].Ref]; o != nil && problems[i].Pos == (model.Position{}) {
			problems[i].Pos = o.Locate(problems[i].Field)
		}
	}
	slices.SortStableFunc(problems, func(a, b model.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
	found.files, found.problems = len(files), slices.Compact(problems)
	return found, nil
}

// translate gives the problems that an object has on its own. Kinds without a translator have none.
func translate(value any, clusterDomain string) []model.Problem {
	var problems []model.Problem
	switch v := value.(type) {
	case *corev1.Service:
		_, problems = core.Service(v, clusterDomain)
	case *corev1.Pod:
		_, problems = core.Pod(v)
	case *discoveryv1.EndpointSlice:
		_, problems = core.EndpointSlice(v)
	case *istionetv1.VirtualService:
		_, problems = istio.VirtualService(v, clusterDomain)
	case *istionetv1.DestinationRule:
		_, problems = istio.DestinationRule(v, clusterDomain)
	case *istionetv1.ServiceEntry:
		_, problems = istio.ServiceEntry(v, clusterDomain)
	case *gatewayv1.HTTPRoute:
		_, problems = gwapi.HTTPRoute(v, clusterDomain)
	case *gatewayv1.GRPCRoute:
		_, problems = gwapi.GRPCRoute(v, clusterDomain)
	case *smi.TrafficSplit:
		_, problems = smi.Read(v, clusterDomain)
	}
	return problems
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
}

func (f *findings) printed() printedFindings {
	printed := printedFindings{Objects: f.objects, Files: f.files, Problems: []printedProblem{}}
	for _, p := range f.problems {
		printed.Problems = append(printed.Problems, printedProblem{
			Severity: p.Severity.String(), Kind: p.Ref.Kind, Namespace: p.Ref.Namespace, Name: p.Ref.Name,
			Field: p.Field, Message: p.Message, Fix: p.Fix, File: p.Pos.File, Line: p.Pos.Line,
		})
	}
	return printed
}
