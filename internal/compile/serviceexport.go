package compile

import (
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// ExportStatus is what becomes of an export, in the conditions of the API.
type ExportStatus struct {
	// Valid says whether it can be obeyed, Ready whether other clusters are offered the Service, Conflict whether the exports of all
	// clusters do not agree, which is so for none or for all of them.
	Valid, Ready, Conflict model.Condition
}

// StatusOfExport says what becomes of an export of the control plane's own cluster.
func StatusOfExport(r *store.Reader, e *model.ServiceExport) ExportStatus {
	offers := store.Offers(r, e.Ref.Key)
	at := slices.IndexFunc(offers, func(o model.Offer) bool { return o.Export.Ref == e.Ref })
	if at < 0 {
		return ExportStatus{}
	}
	out := ExportStatus{Valid: offers[at].Check()}
	if !out.Valid.Holds {
		out.Ready = model.Condition{Reason: model.ExportPending, Message: "the export is not valid: " + out.Valid.Message}
		out.Conflict = model.Conflict(nil)
		return out
	}
	out.Ready = model.Condition{Holds: true, Reason: model.ExportReady, Message: "control planes of other clusters read it"}
	_, conflicts := model.MergeExports(offers)
	out.Conflict = model.Conflict(conflicts)
	return out
}

// exportChecks report exports that cannot be obeyed, and those that do not agree with others.
type exportChecks struct{ *checker }

func (c exportChecks) report() {
	seen := make(map[model.Key]bool)
	for _, e := range store.List[model.ServiceExport](c.r) {
		if seen[e.Ref.Key] {
			continue
		}
		seen[e.Ref.Key] = true
		offers := store.Offers(c.r, e.Ref.Key)
		by := make(map[string]model.Ref, len(offers))
		for _, o := range offers {
			by[o.Export.By] = o.Export.Ref
			if valid := o.Check(); !valid.Holds {
				c.warn(o.Export.Ref, "metadata.name", valid.Message+": nothing is exported", exportFix(valid.Reason))
			}
		}
		_, conflicts := model.MergeExports(offers)
		for _, conflict := range conflicts {
			c.warn(by[conflict.By], conflict.Field, conflict.Message, "say the same in all clusters that export it")
		}
	}
}

func exportFix(reason string) string {
	if reason == model.ExportNoService {
		return "create the Service, or name the export like one"
	}
	return "export a Service that has endpoints, or make a ServiceEntry in each cluster"
}
