package exposition

import (
	"mime"
	"strconv"
	"strings"
)

// The types of the two forms of a page.
const (
	Text     = "text/plain; version=0.0.4; charset=utf-8"
	Protobuf = protobufType + "; proto=" + familyMessage + "; encoding=" + familyEncoding
)

const (
	protobufType   = "application/vnd.google.protobuf"
	familyMessage  = "io.prometheus.client.MetricFamily"
	familyEncoding = "delimited"
)

// PrefersProtobuf reports whether a scraper that sends a header Accept offers to take Protobuf, and does not like text better.
func PrefersProtobuf(accept string) bool {
	var protobuf, text float64
	for one := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		weight := 1.0
		if q, said := params["q"]; said {
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
		}
		switch {
		case kind == protobufType && params["proto"] == familyMessage && params["encoding"] == familyEncoding:
			protobuf = max(protobuf, weight)
		case kind == "text/plain":
			text = max(text, weight)
		}
	}
	return protobuf > 0 && protobuf >= text
}
