package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Operator is one of Envoy's command operators, by which a header value says something of the call.
type Operator uint8

// The operators that a sidecar knows what to write for. The zero value is text.
const (
	OpText Operator = iota
	OpRequestHeader
	OpResponseHeader
	OpProtocol
	OpResponseCode
	OpStartTime
	OpRouteName
	OpUpstreamCluster
	OpUpstreamAddress
	OpUpstreamIP
	OpUpstreamPort
	OpClientAddress
	OpClientIP
	OpClientPort
	OpDialledAddress
	OpDialledIP
	OpDialledPort
	OpHostname
)

// operators are Envoy's names. A sidecar is no further from its app than a connection, so that what is direct is the same.
var operators = map[string]Operator{
	"REQ": OpRequestHeader, "RESP": OpResponseHeader,
	"PROTOCOL": OpProtocol, "RESPONSE_CODE": OpResponseCode, "START_TIME": OpStartTime, "ROUTE_NAME": OpRouteName, "HOSTNAME": OpHostname,
	"UPSTREAM_CLUSTER": OpUpstreamCluster, "UPSTREAM_CLUSTER_RAW": OpUpstreamCluster,
	"UPSTREAM_HOST": OpUpstreamAddress, "UPSTREAM_REMOTE_ADDRESS": OpUpstreamAddress,
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": OpUpstreamIP, "UPSTREAM_REMOTE_PORT": OpUpstreamPort,
	"DOWNSTREAM_REMOTE_ADDRESS": OpClientAddress, "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": OpClientAddress,
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": OpClientIP, "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": OpClientIP,
	"DOWNSTREAM_REMOTE_PORT": OpClientPort, "DOWNSTREAM_DIRECT_REMOTE_PORT": OpClientPort,
	"DOWNSTREAM_LOCAL_ADDRESS": OpDialledAddress, "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": OpDialledIP, "DOWNSTREAM_LOCAL_PORT": OpDialledPort,
}

// Operators lists the names of all operators.
func Operators() []string {
	var out []string
	for name := range operators {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TemplatePart is text, or what an operator writes.
type TemplatePart struct {
	Op Operator
	// Text is that of OpText, and what stands in the parentheses of some operators.
	Text string
	// Times are the parts of a time.
	Times []TimePart
	// Name is the header that is meant, Other the one in its place where that is not there.
	Name, Other string
	// Limit is how many bytes are written at most; 0 = all.
	Limit int
}

// TemplateError says what is wrong with a header value.
type TemplateError struct {
	// Unknown is the name of an operator that is none, empty where the form is wrong.
	Unknown string
	Why     string
}

func (e *TemplateError) Error() string { return e.Why }

// ParseTemplate takes a header value in Envoy's form apart. "%%" is a percent sign.
func ParseTemplate(value string) ([]TemplatePart, *TemplateError) {
	return parseTemplate(value, operators)
}

// parseTemplate is ParseTemplate with the operators of the tables.
func parseTemplate(value string, tables ...map[string]Operator) ([]TemplatePart, *TemplateError) {
	var out []TemplatePart
	text := ""
	for value != "" {
		before, rest, found := strings.Cut(value, "%")
		text += before
		if !found {
			break
		}
		if after, escaped := strings.CutPrefix(rest, "%"); escaped {
			text, value = text+"%", after
			continue
		}
		part, after, err := parseOperator(rest, tables)
		if err != nil {
			return nil, err
		}
		if text != "" {
			out = append(out, TemplatePart{Text: text})
		}
		text, value = "", after
		out = append(out, part)
	}
	if text != "" {
		out = append(out, TemplatePart{Text: text})
	}
	return out, nil
}

// parseOperator reads what stands behind a percent sign, "NAME(parameter):limit%", and gives what follows it.
func parseOperator(s string, tables []map[string]Operator) (part TemplatePart, rest string, fault *TemplateError) {
	end := strings.IndexFunc(s, func(c rune) bool { return !isOperatorName(c) })
	if end <= 0 {
		return part, "", &TemplateError{Why: `a single "%"`}
	}
	name, s := s[:end], s[end:]
	parameter, given := "", false
	if strings.HasPrefix(s, "(") {
		closing := strings.IndexByte(s, ')')
		if closing < 0 {
			return part, "", &TemplateError{Why: fmt.Sprintf("%%%s( without an end", name)}
		}
		parameter, given, s = s[1:closing], true, s[closing+1:]
	}
	before, rest, closed := strings.Cut(s, "%")
	if !closed {
		return part, "", &TemplateError{Why: fmt.Sprintf("%%%s without a %q behind it", name, "%")}
	}
	op, known := OpText, false
	for _, table := range tables {
		if op, known = table[name]; known {
			break
		}
	}
	if !known {
		return part, "", &TemplateError{Unknown: name, Why: fmt.Sprintf("%q is no operator", "%"+name+"%")}
	}
	part = TemplatePart{Op: op}
	if limit, limited := strings.CutPrefix(before, ":"); limited && op.takesLimit() {
		n, err := strconv.ParseUint(limit, 10, 16)
		if err != nil || n == 0 {
			return part, "", &TemplateError{Why: fmt.Sprintf("%q is no number of bytes", limit)}
		}
		part.Limit = int(n)
	} else if before != "" {
		return part, "", &TemplateError{Why: fmt.Sprintf("%q behind %%%s", before, name)}
	}
	fault = part.configure(name, parameter, given)
	return part, rest, fault
}

func isOperatorName(c rune) bool { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' }

func (o Operator) takesHeader() bool {
	return o == OpRequestHeader || o == OpResponseHeader || o == OpTrailer || o == OpPath
}

func (o Operator) takesLimit() bool { return o.takesHeader() || o == OpQueryParam }

// configure reads what stands between parentheses.
func (p *TemplatePart) configure(name, parameter string, given bool) *TemplateError {
	switch {
	case name == "PATH":
		return p.configurePath(parameter)
	case p.Op.takesHeader():
		if p.Op == OpPath {
			p.Text = NoQuery
		}
		p.Name, p.Other, _ = strings.Cut(strings.ToLower(parameter), "?")
		for _, header := range []string{p.Name, p.Other} {
			if header == "" && p.Name != "" {
				continue
			}
			if why := HeaderNameFault(strings.TrimPrefix(header, ":")); why != "" {
				return &TemplateError{Why: fmt.Sprintf("%%%s(%s)%%: %s", name, parameter, why)}
			}
		}
	case p.Op == OpQueryParam:
		if parameter == "" {
			return &TemplateError{Why: "%QUERY_PARAM()%: which parameter?"}
		}
		p.Name = parameter
	case p.Op == OpStartTime || p.Op == OpEmitTime || p.Op == OpLogTime:
		times, ok := timeFormat(parameter)
		if !ok {
			return &TemplateError{Why: fmt.Sprintf("%%%s(%s)%%: a part of the format is not known", name, parameter)}
		}
		p.Times = times
	case p.Op == OpGRPCStatus && slices.Contains([]string{"", "CAMEL_STRING", "SNAKE_STRING", "NUMBER"}, parameter), p.Op == OpResponseDetails && parameter == "ALLOW_WHITESPACES":
		p.Text = parameter
	case given:
		return &TemplateError{Why: fmt.Sprintf("%%%s takes nothing in parentheses", name)}
	}
	return nil
}

// configurePath reads what stands between the parentheses of PATH: whether with the query, and which path.
func (p *TemplatePart) configurePath(parameter string) *TemplateError {
	query, of, _ := strings.Cut(parameter, ":")
	const original, path = "x-envoy-original-path", ":path"
	switch of {
	case "", "ORIG_OR_PATH":
		p.Name, p.Other = original, path
	case "ORIG":
		p.Name = original
	case "PATH":
		p.Name = path
	default:
		return &TemplateError{Why: fmt.Sprintf("%%PATH(%s)%%: %q is not ORIG, PATH or ORIG_OR_PATH", parameter, of)}
	}
	switch query {
	case "", "WQ":
	case NoQuery:
		p.Text = NoQuery
	default:
		return &TemplateError{Why: fmt.Sprintf("%%PATH(%s)%%: %q is not WQ or NQ", parameter, query)}
	}
	return nil
}
