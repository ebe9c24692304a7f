package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/inject"
)

// injection is what `fairlead inject` does, without a cluster: as the webhook would.
type injection struct {
	paths []string
	// config is a file in the form of the webhook's injector.yaml; set are single fields over it.
	config string
	set    map[string]string
	// namespaceLabels are taken for those of every object's namespace.
	namespaceLabels string
	native          bool
}

// newInjectCommand is `fairlead inject`.
func newInjectCommand(a *app) *cobra.Command {
	v := injection{}
	cmd := &cobra.Command{
		Use:   "inject -f FILE|DIR|-…",
		Short: "Put the sidecar into manifests, as the webhook does into pods",
		Long: "Prints the manifests with the sidecar in every Pod and in every template of pods, the same that the webhook makes of\n" +
			"them. What has no pods is printed as it is. What happened to each object is told on standard error; where one is\n" +
			"refused, nothing is printed and the exit code is 1.",
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			v.paths = append(v.paths, args...)
			return v.run(a)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&v.paths, "filename", "f", nil, "file or directory, - for standard input; may be given several times")
	flags.StringVar(&v.config, "config", "", "`FILE` with the injector's configuration: key injector.yaml of ConfigMap fairlead in fairlead-system")
	flags.StringToStringVar(&v.set, "set", nil, "`FIELD=VALUE` of that configuration, such as image=registry.local/proxy:v1; may be given several times")
	flags.StringVar(&v.namespaceLabels, "namespace-labels", labels.FormatLabels(inject.EnabledNamespace()), "labels that the namespaces have, `KEY=VALUE`, comma-separated")
	flags.BoolVar(&v.native, "native", true, "the cluster knows native sidecars (Kubernetes 1.29 and later)")
	return cmd
}

func (v *injection) run(a *app) error {
	config, err := v.configuration()
	if err != nil {
		return err
	}
	namespaceLabels, err := labels.ConvertSelectorToLabelsMap(v.namespaceLabels)
	if err != nil {
		return fmt.Errorf("--namespace-labels %s: write KEY=VALUE,KEY=VALUE: %w", v.namespaceLabels, err)
	}
	return rewriteManifests(a, v.paths, func(t inject.Target) (*corev1.Pod, string, error) {
		after, decision, err := inject.Pod(t.Pod, inject.Request{
			Namespace: t.Namespace, NamespaceLabels: namespaceLabels, Config: config, Native: v.native,
		})
		if err != nil {
			return nil, "", err
		}
		return after, strings.Join(append([]string{decision.String()}, decision.Warnings...), "\n  warning: "), nil
	})
}

// configuration reads --config and --set.
func (v *injection) configuration() (inject.Config, error) {
	written := map[string]any{}
	if v.config != "" {
		data, err := os.ReadFile(v.config)
		if err != nil {
			return inject.Config{}, fmt.Errorf("--config: %w", err)
		}
		if err := yaml.Unmarshal(data, &written); err != nil {
			return inject.Config{}, fmt.Errorf("--config %s: %w", v.config, err)
		}
	}
	for field, value := range v.set {
		var parsed any
		if err := yaml.Unmarshal([]byte(value), &parsed); err != nil {
			return inject.Config{}, fmt.Errorf("--set %s=%s: %w", field, value, err)
		}
		written[field] = parsed
	}
	data, err := yaml.Marshal(written)
	if err != nil {
		return inject.Config{}, err
	}
	config, err := inject.ParseConfig(data, inject.DefaultConfig())
	if err != nil {
		return inject.Config{}, fmt.Errorf("injector configuration: %w", err)
	}
	return config, nil
}

// newUninjectCommand is `fairlead uninject`.
func newUninjectCommand(a *app) *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use:   "uninject -f FILE|DIR|-…",
		Short: "Take the sidecar out of manifests that fairlead inject made",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			return rewriteManifests(a, append(paths, args...), func(t inject.Target) (*corev1.Pod, string, error) {
				after, removed, err := inject.Remove(t.Pod)
				if !removed {
					return nil, "skipped: no sidecar", err
				}
				return after, "uninjected", err
			})
		},
	}
	cmd.Flags().StringSliceVarP(&paths, "filename", "f", nil, "file or directory, - for standard input; may be given several times")
	return cmd
}

// stdin is how the command line names standard input.
const stdin = "-"

// rewrite gives the pod of a target as it is to be, and what to tell about it.
type rewrite func(inject.Target) (after *corev1.Pod, told string, err error)

// rewriteManifests prints the manifests below the paths after rewrite. Nothing is printed where anything fails, so
// that what follows in a pipe does not go ahead with half of it.
func rewriteManifests(a *app, paths []string, rewrite rewrite) error {
	if len(paths) == 0 {
		return errors.New("nothing to read: name files or directories with -f, or - for standard input")
	}
	files, err := manifestFiles(paths)
	if err != nil {
		return err
	}
	var out []byte
	var errs []error
	for _, name := range files {
		text, err := a.readManifest(name)
		if err != nil {
			return err
		}
		if name == stdin {
			name = "stdin"
		}
		edited, err := inject.Edit(text, func(t inject.Target) (*corev1.Pod, error) {
			if t.Pod == nil {
				fmt.Fprintf(a.Err, "%s: %s: skipped: no pods\n", name, t)
				return nil, nil
			}
			t.Namespace = cmp.Or(t.Namespace, a.inNamespace())
			after, told, err := rewrite(t)
			if err == nil {
				fmt.Fprintf(a.Err, "%s: %s: %s\n", name, t, told)
			}
			return after, err
		})
		for _, e := range lines(err) {
			errs = append(errs, fmt.Errorf("%s: %s", name, e))
		}
		out = joinStreams(out, edited)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = a.Out.Write(out)
	return err
}

// lines takes a joined error apart.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// joinStreams puts one stream of documents behind another.
func joinStreams(first, second []byte) []byte {
	if len(first) == 0 {
		return second
	}
	if !strings.HasSuffix(string(first), "\n") {
		first = append(first, '\n')
	}
	if !strings.HasPrefix(string(second), "---") {
		first = append(first, "---\n"...)
	}
	return append(first, second...)
}

// manifestFiles lists the files that the paths name, those of a directory and of what is below it by their names.
func manifestFiles(paths []string) ([]string, error) {
	var files []string
	for _, root := range paths {
		if root == stdin {
			files = append(files, root)
			continue
		}
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			isManifest := path == root || slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path))
			if err == nil && !entry.IsDir() && isManifest {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("-f: %w", err)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no .yaml, .yml or .json file in %s", strings.Join(paths, ", "))
	}
	return files, nil
}

func (a *app) readManifest(name string) ([]byte, error) {
	if name == stdin {
		return io.ReadAll(a.In)
	}
	return os.ReadFile(name)
}
