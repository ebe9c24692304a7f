package admin

import (
	"encoding/json"
	"net/http"
)

// The paths that sidecar and control plane have in common.
const (
	pathMetrics = "/metrics"
	pathReady   = "/healthz/ready"
)

const typeJSON = "application/json"

// writeJSON answers with a value of this package, all of which encode.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", typeJSON)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v) //nolint:errcheck,errchkjson // the client went away
}

// writeReady answers a probe: 503 and what is missing, or 200 and yes.
func writeReady(w http.ResponseWriter, missing, yes string) {
	if missing != "" {
		http.Error(w, missing, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Write([]byte(yes))
}
