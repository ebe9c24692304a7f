package controlplane

import (
	"fmt"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config/istio"
	"fairlead.dev/fairlead/internal/plan"
)

// accessLogs adds what the options say of the form of access logs, and of where they go.
func (o *Options) accessLogs(g *compile.Global) error {
	format, problems := istio.MeshLogFormat(o.AccessLogFormat, o.AccessLog == "json")
	if err := o.say(problems); err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	all, err := istio.ExtensionProviders(o.ExtensionProviders)
	if err != nil {
		return err
	}
	providers, problems := istio.LogProviders(all)
	if err := o.say(problems); err != nil {
		return err
	}
	defaults, err := istio.DefaultProviders(o.DefaultProviders)
	if err != nil {
		return err
	}
	g.LogFormat, g.LogProviders = format, providers
	g.LogDefault, err = istio.DefaultLogProviders(defaults, providers, plan.StandardOutput)
	return err
}
