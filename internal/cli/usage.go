package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// oneLineUsage makes cmd and every command below it say what is wrong with a command line in one line of our words.
// Cobra alone answers an unknown verb below the root with the help text and success, which a script takes for done.
func oneLineUsage(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		oneLineUsage(sub)
	}
	completeFlags(cmd)
	if cmd.DisableFlagParsing { // its arguments are those of the app's command
		return
	}
	if !cmd.Runnable() {
		cmd.Args, cmd.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownVerb(cmd, args[0])
		}
		return
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check != nil && check(cmd, args) != nil {
			return wrongArguments(cmd, args)
		}
		return missingFlag(cmd)
	}
}

// unknownVerb names what the user may have meant.
func unknownVerb(cmd *cobra.Command, verb string) error {
	if near := cmd.SuggestionsFor(verb); len(near) > 0 {
		return fmt.Errorf("unknown command %q; did you mean: %s", cmd.CommandPath()+" "+verb, cmd.CommandPath()+" "+strings.Join(near, " or "))
	}
	var verbs []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			verbs = append(verbs, sub.Name())
		}
	}
	return fmt.Errorf("unknown command %q; there are: %s", cmd.CommandPath()+" "+verb, strings.Join(verbs, ", "))
}

func wrongArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("an argument is missing; usage: %s", cmd.UseLine())
	}
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = strconv.Quote(arg)
		if len(cmd.ValidArgs) > 0 && !slices.Contains(cmd.ValidArgs, arg) {
			return fmt.Errorf("%q: use one of %s; usage: %s", arg, strings.Join(cmd.ValidArgs, ", "), cmd.UseLine())
		}
	}
	return fmt.Errorf("cannot use the arguments %s; usage: %s", strings.Join(quoted, " "), cmd.UseLine())
}

// missingFlag comes before cobra's own look at the flags that a command cannot do without.
func missingFlag(cmd *cobra.Command) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if required := f.Annotations[cobra.BashCompOneRequiredFlag]; err == nil && !f.Changed && len(required) > 0 {
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			err = fmt.Errorf("a flag is missing: %s; usage: %s", name, cmd.UseLine())
		}
	})
	return err
}

// flagError says which command a flag that cannot be read was given to.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())
}

// newHelpCommand is "fairlead help", which fails where there is nothing to help with.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND…]",
		Short: "Help about any command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 && about.HasSubCommands() {
				return unknownVerb(about, rest[0])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// oneOf is a flag that takes one of a few words.
type oneOf struct {
	value *string
	words []string
}

// The forms of output for people; "short" is istioctl's name for its table.
const (
	table = "table"
	text  = "text"
	short = "short"
)

func isTable(output string) bool { return output == table || output == short }

// addOutputFlag adds -o with the forms that a command can print; the first is the default.
func addOutputFlag(flags *pflag.FlagSet, value *string, words ...string) {
	*value = words[0]
	usage := strings.Join(words, ", ")
	if slices.Contains(words, "json") {
		usage += ", jsonpath=TEMPLATE"
	}
	flags.VarP(&oneOf{value: value, words: words}, "output", "o", "print as "+usage)
}

// String implements pflag.Value.
func (o *oneOf) String() string {
	if o.value == nil {
		return ""
	}
	return *o.value
}

// Type implements pflag.Value.
func (*oneOf) Type() string { return "string" }

// Set implements pflag.Value.
func (o *oneOf) Set(s string) error {
	if strings.HasPrefix(s, jsonPath) && slices.Contains(o.words, "json") {
		if _, err := parsePath(s); err != nil {
			return err
		}
		*o.value = s
		return nil
	}
	if !slices.Contains(o.words, s) {
		return fmt.Errorf("use one of %s", strings.Join(o.words, ", "))
	}
	*o.value = s
	return nil
}
