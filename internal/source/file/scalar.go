package file

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// scalarType is what an untyped reader makes of a YAML scalar.
type scalarType uint8

const (
	nullScalar scalarType = iota + 1
	boolScalar
	intScalar
	floatScalar
	textScalar
)

// noun names the type in messages.
func (t scalarType) noun() string {
	switch t {
	case nullScalar:
		return "empty"
	case boolScalar:
		return "a boolean"
	case intScalar, floatScalar:
		return "a number"
	case textScalar:
		return "text"
	}
	return "unset"
}

// scalarValue is a resolved scalar. json is how it is written in JSON; for text it is the bare value.
type scalarValue struct {
	kind scalarType
	json string
}

// plainWords are the YAML 1.1 words that mean something else than themselves when not quoted. The YAML library of
// kubectl (sigs.k8s.io/yaml) follows 1.1, so that `yes` is a boolean there.
var plainWords = map[string]scalarValue{
	"": {nullScalar, "null"}, "~": {nullScalar, "null"},
	"null": {nullScalar, "null"}, "Null": {nullScalar, "null"}, "NULL": {nullScalar, "null"},
	"true": {boolScalar, "true"}, "True": {boolScalar, "true"}, "TRUE": {boolScalar, "true"},
	"y": {boolScalar, "true"}, "Y": {boolScalar, "true"},
	"yes": {boolScalar, "true"}, "Yes": {boolScalar, "true"}, "YES": {boolScalar, "true"},
	"on": {boolScalar, "true"}, "On": {boolScalar, "true"}, "ON": {boolScalar, "true"},
	"false": {boolScalar, "false"}, "False": {boolScalar, "false"}, "FALSE": {boolScalar, "false"},
	"n": {boolScalar, "false"}, "N": {boolScalar, "false"},
	"no": {boolScalar, "false"}, "No": {boolScalar, "false"}, "NO": {boolScalar, "false"},
	"off": {boolScalar, "false"}, "Off": {boolScalar, "false"}, "OFF": {boolScalar, "false"},
}

var floatForm = regexp.MustCompile(`^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$`)

// resolve gives the meaning of a scalar node. It returns ok=false for tags and numbers JSON cannot express.
func resolve(n *yaml.Node) (v scalarValue, ok bool) {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return scalarValue{textScalar, n.Value}, n.Style&yaml.TaggedStyle == 0 || n.ShortTag() == "!!str"
	}
	if n.Style&yaml.TaggedStyle == 0 {
		return resolvePlain(n.Value)
	}
	v, ok = resolvePlain(n.Value)
	switch n.ShortTag() {
	case "!!str":
		return scalarValue{textScalar, n.Value}, true
	case "!!int":
		return v, ok && v.kind == intScalar
	case "!!float":
		return v, ok && (v.kind == intScalar || v.kind == floatScalar)
	case "!!bool":
		return v, ok && v.kind == boolScalar
	case "!!null":
		return v, ok && v.kind == nullScalar
	default:
		return scalarValue{}, false
	}
}

func resolvePlain(text string) (v scalarValue, ok bool) {
	if v, ok := plainWords[text]; ok {
		return v, true
	}
	switch c := text[0]; {
	case c == '.' || c == '+' || c == '-' || c >= '0' && c <= '9':
		return resolveNumber(text)
	default:
		return scalarValue{textScalar, text}, true
	}
}

// resolveNumber follows YAML 1.1: underscores are ignored, 0777 and 0o777 are octal, 0b1 is binary. Dates are text.
func resolveNumber(text string) (v scalarValue, ok bool) {
	if text[0] == '.' {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return floatValue(f)
		}
	}
	switch strings.ToLower(strings.TrimLeft(text, "+-")) {
	case ".nan", ".inf":
		return scalarValue{}, false
	}
	if text[0] == '.' || isDate(text) {
		return scalarValue{textScalar, text}, true
	}
	digits := strings.ReplaceAll(text, "_", "")
	if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return scalarValue{intScalar, strconv.FormatInt(i, 10)}, true
	}
	if u, err := strconv.ParseUint(digits, 0, 64); err == nil {
		return scalarValue{intScalar, strconv.FormatUint(u, 10)}, true
	}
	if floatForm.MatchString(digits) {
		if f, err := strconv.ParseFloat(digits, 64); err == nil {
			return floatValue(f)
		}
	}
	return scalarValue{textScalar, text}, true
}

// floatValue writes f as encoding/json does.
func floatValue(f float64) (v scalarValue, ok bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return scalarValue{}, false
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return scalarValue{floatScalar, strconv.FormatFloat(f, format, -1, 64)}, true
}

// isDate reports whether text has one of the forms YAML 1.1 reads as a timestamp. They stay text in JSON.
func isDate(text string) bool {
	if len(text) < len("2006-1-2") || text[4] != '-' {
		return false
	}
	for _, layout := range []string{
		"2006-1-2T15:4:5.999999999Z07:00", "2006-1-2t15:4:5.999999999Z07:00", "2006-1-2 15:4:5.999999999", "2006-1-2",
	} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	return false
}
