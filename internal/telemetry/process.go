package telemetry

import (
	"strconv"

	"fairlead.dev/fairlead/internal/procstat"
)

// processPrefix is Istio's, for what its agent says of itself. An app's page, whose names have none, follows that of its sidecar.
const processPrefix = "istio_agent_"

// process writes what the sidecar's process uses.
func (p *page) process() {
	for _, f := range procstat.Read() {
		name := processPrefix + f.Name
		p.kind(name, f.Kind())
		p.begin(name, "")
		p.b = append(strconv.AppendFloat(p.b, f.Value, 'g', -1, 64), '\n')
	}
}
