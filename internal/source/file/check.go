package file

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

var wholeNumber = regexp.MustCompile(`^-?\d+$`)

// gatewayTime is the form of durations that GEP-2257 allows.
var gatewayTime = regexp.MustCompile(`^(\d{1,5}(h|m|s|ms)){1,4}$`)

// scalar checks a scalar node against a scalar schema and writes it.
func (w *walker) scalar(n *yaml.Node, p *place) {
	v, ok := resolve(n)
	if !ok {
		w.report(n, p.path, fmt.Sprintf("%#q cannot be written in JSON", clip(n.Value)), "")
		return
	}
	if message, fix := check(n, v, p.schema, p.label); message != "" {
		w.report(n, p.path, message, fix)
		return
	}
	w.write(v)
}

// check says what is wrong with the value v of the field called label, or "".
func check(n *yaml.Node, v scalarValue, s *schema, label string) (message, fix string) {
	switch s.shape {
	case textShape:
		if v.kind != textScalar {
			return notText(n, v, label)
		}
	case boolShape:
		if v.kind != boolScalar {
			return mismatch(n, label, "true or false"), unquoted(v, label, boolScalar)
		}
	case intShape:
		return checkInt(n, v, s, label)
	case floatShape:
		if v.kind != intScalar && v.kind != floatScalar {
			return mismatch(n, label, "a number"), unquoted(v, label, floatScalar)
		}
	case enumShape:
		return checkEnum(n, v, s, label)
	case bytesShape:
		return checkForm(n, v, label, form{noun: "base64 text", valid: isBase64})
	case durationShape:
		return checkForm(n, v, label, form{noun: "a duration", example: "5s", valid: isDuration})
	case gatewayTimeShape:
		return checkForm(n, v, label, form{noun: "a duration of whole h, m, s or ms", example: "1m30s", valid: gatewayTime.MatchString})
	case instantShape:
		return checkForm(n, v, label, form{noun: "a time", example: `"2026-01-31T08:00:00Z"`, valid: isInstant})
	case intOrTextShape:
		if v.kind != intScalar && v.kind != textScalar {
			return mismatch(n, label, "a number or a name"), ""
		}
	case quantityShape:
		if _, err := resource.ParseQuantity(v.json); err != nil || v.kind == boolScalar {
			return mismatch(n, label, "a quantity"), "such as `500m` or `1Gi`"
		}
	case anyShape, objectShape, mapShape, listShape: // not scalars
	}
	return "", ""
}

// mismatch gives "`replicas` is `two` here; it must be a whole number".
func mismatch(n *yaml.Node, label, want string) string {
	value := clip(n.Value)
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		value = strconv.Quote(value)
	}
	return fmt.Sprintf("%#q is %#q here; it must be %s", label, value, want)
}

func notText(n *yaml.Node, v scalarValue, label string) (message, fix string) {
	fix = fmt.Sprintf("quote it: `%q`", clip(n.Value))
	if v.kind == boolScalar && !strings.EqualFold(n.Value, v.json) {
		return fmt.Sprintf("%#q must be text, but an unquoted %s means %s in YAML", label, n.Value, v.json), fix
	}
	return fmt.Sprintf("%#q must be text, but %#q is %s", label, clip(n.Value), v.kind.noun()), fix
}

// unquoted advises to take quotes off where that gives a value of the wanted type.
func unquoted(v scalarValue, label string, want scalarType) string {
	if v.kind != textScalar || v.json == "" {
		return ""
	}
	bare, ok := resolvePlain(v.json)
	if !ok || bare.kind != want && (want != floatScalar || bare.kind != intScalar) {
		return ""
	}
	return fmt.Sprintf("without quotes: `%s: %s`", label, v.json)
}

func checkInt(n *yaml.Node, v scalarValue, s *schema, label string) (message, fix string) {
	text := v.json
	if !wholeNumber.MatchString(text) || v.kind == textScalar {
		return mismatch(n, label, "a whole number"), unquoted(v, label, intScalar)
	}
	if low, high, ok := inRange(text, s); !ok {
		return fmt.Sprintf("%#q is %#q here; it must be a whole number from %s to %s", label, clip(n.Value), low, high), ""
	}
	return "", ""
}

// inRange gives the bounds of an integer and whether text keeps them.
func inRange(text string, s *schema) (low, high string, ok bool) {
	if s.unsigned {
		_, err := strconv.ParseUint(text, 10, s.bits)
		return "0", strconv.FormatUint(1<<s.bits-1, 10), err == nil
	}
	_, err := strconv.ParseInt(text, 10, s.bits)
	return strconv.FormatInt(-1<<(s.bits-1), 10), strconv.FormatInt(1<<(s.bits-1)-1, 10), err == nil
}

func checkEnum(n *yaml.Node, v scalarValue, s *schema, label string) (message, fix string) {
	if v.kind == textScalar && slices.Contains(s.values, v.json) {
		return "", ""
	}
	message = fmt.Sprintf("%#q is %#q here; it must be one of %s", label, clip(n.Value), strings.Join(s.values, ", "))
	if near := nearest(n.Value, s.values); near != "" {
		fix = fmt.Sprintf("did you mean %#q?", near)
	}
	return message, fix
}

// form is a kind of text with a syntax of its own.
type form struct {
	noun, example string
	valid         func(string) bool
}

func checkForm(n *yaml.Node, v scalarValue, label string, f form) (message, fix string) {
	if v.kind == textScalar && f.valid(v.json) {
		return "", ""
	}
	if v.kind == intScalar && f.example == "5s" {
		return mismatch(n, label, f.noun), fmt.Sprintf("with its unit: `%s: %ss`", label, v.json)
	}
	if f.example != "" {
		fix = fmt.Sprintf("such as `%s: %s`", label, f.example)
	}
	return mismatch(n, label, f.noun), fix
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

func isDuration(s string) bool {
	_, err := time.ParseDuration(s)
	return err == nil
}

func isInstant(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil
}
