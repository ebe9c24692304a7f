package plan

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// DescribeMatch is what decides, in a few words: Istio prints the path; everything else follows it.
func DescribeMatch(m *model.HTTPMatch) string {
	var parts []string
	if m.URI == nil {
		parts = append(parts, "/*")
	} else {
		parts = append(parts, describeString(*m.URI))
	}
	for _, named := range []struct {
		name  string
		match *model.StringMatch
	}{{"method", m.Method}, {"authority", m.Authority}, {"scheme", m.Scheme}} {
		if named.match != nil {
			parts = append(parts, named.name+"="+describeString(*named.match))
		}
	}
	for _, h := range m.Headers {
		parts = append(parts, describeNamed("header", h))
	}
	for _, q := range m.Query {
		parts = append(parts, describeNamed("query", q))
	}
	if m.Port != 0 {
		parts = append(parts, "port="+strconv.Itoa(int(m.Port)))
	}
	return strings.Join(append(parts, describeCaller(m.SourceNamespace, m.SourceLabels)...), " ")
}

func describeNamed(what string, n model.NamedMatch) string {
	op := "="
	if n.Invert {
		op = "!="
	}
	return what + "." + n.Name + op + describeString(n.Match)
}

func describeString(m model.StringMatch) string {
	switch m.Kind {
	case model.Exact:
		return m.Value
	case model.Prefix:
		return m.Value + "*"
	case model.PathPrefix:
		return strings.TrimSuffix(m.Value, "/") + "/*"
	case model.Regex:
		return "regex " + m.Value
	case model.Present:
		return "*"
	}
	return ""
}

// DescribeTCPMatch is what decides of a connection, in a few words.
func DescribeTCPMatch(m *model.TCPMatch) string {
	parts := []string{"connections"}
	if len(m.SNI) > 0 {
		parts = append(parts, "sni="+strings.Join(m.SNI, ","))
	}
	if len(m.DestinationSubnets) > 0 {
		parts = append(parts, "to="+strings.Join(m.DestinationSubnets, ","))
	}
	if m.SourceSubnet != "" {
		parts = append(parts, "from="+m.SourceSubnet)
	}
	if m.Port != 0 {
		parts = append(parts, "port="+strconv.Itoa(int(m.Port)))
	}
	return strings.Join(append(parts, describeCaller(m.SourceNamespace, m.SourceLabels)...), " ")
}

// describeCaller says whose calls a match is for.
func describeCaller(namespace string, labels map[string]string) []string {
	var parts []string
	if namespace != "" {
		parts = append(parts, "sourceNamespace="+namespace)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, "source."+k+"="+labels[k])
	}
	return parts
}
