package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

var (
	meshOption = regexp.MustCompile(`^(?:mesh\.([a-z][A-Za-z]*)|((?:tracing|consul|mirrors)(?:\.[a-z][A-Za-z]*)+))=((?s:.*))$`)
	humps      = regexp.MustCompile(`[A-Z]+`)
)

// meshFlags turns options of the mesh, such as mesh.accessLog=json or tracing.sampling=100, into the controller's flags. Their
// names are those of the chart, and the flags of the controller the same in lower case with dashes, as deploy/chart passes
// them; what is said of traces, of Consul and of mirrors keeps its first word.
func meshFlags(settings []string) ([]string, error) {
	var flags []string
	for _, s := range settings {
		m := meshOption.FindStringSubmatch(s)
		if m == nil {
			return nil, fmt.Errorf("--set %s: write mesh.NAME=VALUE or tracing.NAME=VALUE, with a name as in the chart's values, such as mesh.accessLog=json", s)
		}
		if m[1] == "clusterDomain" {
			return nil, fmt.Errorf("--set %s: a lab's names end in %s", s, clusterDomain)
		}
		name := strings.ReplaceAll(m[1]+m[2], ".", "-")
		flags = append(flags, "--"+strings.ToLower(humps.ReplaceAllString(name, "-$0"))+"="+m[3])
	}
	return flags, nil
}

// checkTime is far longer than a program needs to read its flags.
const checkTime = 10 * time.Second

// checkMeshFlags has the controller read its flags, so that a mistake shows before anything is started. A question for
// help is answered after the flags before it were read.
func checkMeshFlags(ctx context.Context, controller string, flags []string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	for _, f := range flags {
		var said bytes.Buffer
		cmd := exec.CommandContext(ctx, controller, f, "-h") //nolint:gosec // our own binary
		cmd.Stderr = &said
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			lines := strings.Split(strings.TrimSpace(said.String()), "\n")
			return fmt.Errorf("--set: the control plane refuses %s: %s", f, strings.TrimPrefix(lines[0], controllerBinary+": "))
		}
		if err != nil {
			return fmt.Errorf("--set: %w", err)
		}
	}
	return nil
}
