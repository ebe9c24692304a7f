package cli

import (
	"strings"
	"testing"
)

// TestUsageMistakes: a script must see that nothing was done, and a user read why in one line.
func TestUsageMistakes(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"verb", []string{"nosuch"}, `unknown command "fairlead nosuch"; there are: check, completion`},
		{"verb_nearly_right", []string{"proxystatus"}, `unknown command "fairlead proxystatus"; did you mean: fairlead proxy-status`},
		{"verb_below", []string{"lab", "nosuch"}, `unknown command "fairlead lab nosuch"; there are: apply, capture`},
		{"verb_below_nearly_right", []string{"lab", "stauts"}, `unknown command "fairlead lab stauts"; did you mean: fairlead lab status`},
		{"verb_with_more", []string{"pc", "nosuch", "pod"}, `unknown command "fairlead proxy-config nosuch"; there are: all, bootstrap, clusters`},
		{"help_with_it", []string{"help", "nosuch"}, `unknown command "fairlead nosuch"`},
		{"help_with_it_below", []string{"help", "lab", "nosuch"}, `unknown command "fairlead lab nosuch"`},
		{"completion", []string{"completion", "nosuch"}, `unknown command "fairlead completion nosuch"; there are: bash`},
		{"too_many_arguments", []string{"lab", "down", "x"}, `cannot use the arguments "x"; usage: fairlead lab down`},
		{"no_argument", []string{"lab", "kill"}, "an argument is missing; usage: fairlead lab kill POD"},
		{"one_argument_of_two", []string{"lab", "exec", "pod"}, `cannot use the arguments "pod"; usage: fairlead lab exec POD`},
		{"argument_of_a_few", []string{"lab", "controller", "restart"}, `"restart": use one of stop, start, kill; usage: fairlead lab controller stop|start|kill`},
		{"flag", []string{"lab", "status", "--nosuch"}, "unknown flag: --nosuch; see: fairlead lab status --help"},
		{"flag_without_value", []string{"validate", "-f"}, "flag needs an argument: 'f' in -f; see: fairlead validate --help"},
		{"flag_without_a_short_form", []string{"multicluster", "unlink"}, "a flag is missing: --cluster-name; usage: fairlead multicluster unlink --cluster-name CLUSTER"},
		{"flag_that_is_needed", []string{"lab", "up"}, "a flag is missing: -f, --filename; usage: fairlead lab up -f DIR|FILE|-…"},
		{"output", []string{"lab", "status", "-o", "xml"}, `invalid argument "xml" for "-o, --output" flag: use one of table, json, yaml; see: fairlead lab status --help`},
		{"output_of_views", []string{"pc", "all", "pod", "-o", "xml"}, "use one of table, json, yaml, short"},
		{"output_of_checks", []string{"check", "-o", "xml"}, "use one of table, json, yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errOut := run(t, "", tt.args...)
			if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, tt.want) {
				t.Errorf("fairlead %s = %d, printed %q and %q; want 1, nothing, and a line with %q", strings.Join(tt.args, " "), code, out, errOut, tt.want)
			}
		})
	}
}

// TestHelp: a command group by itself is a question, not a mistake.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"lab"}, {"help"}, {"help", "lab"}, {"help", "lab", "up"}, {"lab", "--help"}, {"pc"}} {
		if code, out, errOut := run(t, "", args...); code != 0 || !strings.Contains(out, "Usage:") || errOut != "" {
			t.Errorf("fairlead %s = %d, printed %q and %q; want 0 and the usage", strings.Join(args, " "), code, out, errOut)
		}
	}
}
