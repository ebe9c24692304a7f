package compile

import (
	"strconv"

	"fairlead.dev/fairlead/internal/model"
)

// clusterName is Istio's name of a group of endpoints.
func clusterName(port uint16, subset string, host model.Hostname) string {
	return "outbound|" + strconv.Itoa(int(port)) + "|" + subset + "|" + string(host)
}
