package model

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTemplate(t *testing.T) {
	text := func(s string) TemplatePart { return TemplatePart{Text: s} }
	tests := []struct {
		value, fault string
		want         []TemplatePart
	}{
		{"", "", nil},
		{"plain", "", []TemplatePart{text("plain")}},
		{"100%%", "", []TemplatePart{text("100%")}},
		{"%%REQ(x)%%", "", []TemplatePart{text("%REQ(x)%")}},
		{"a %PROTOCOL% b", "", []TemplatePart{text("a "), {Op: OpProtocol}, text(" b")}},
		{"%REQ(X-A)%%RESP(b?C):12%", "", []TemplatePart{{Op: OpRequestHeader, Name: "x-a"}, {Op: OpResponseHeader, Name: "b", Other: "c", Limit: 12}}},
		{"%REQ(:PATH)%", "", []TemplatePart{{Op: OpRequestHeader, Name: ":path"}}},
		{"%START_TIME%", "", []TemplatePart{{Op: OpStartTime, Times: []TimePart{{Layout: "2006-01-02T15:04:05.000Z"}}}}},
		{"%START_TIME(%Y at %E3SZ)%", "", []TemplatePart{{Op: OpStartTime, Times: []TimePart{
			{Layout: "2006"}, {Text: " at "}, {Layout: "05"}, {Text: "."}, {Digits: 3}, {Text: "Z"},
		}}}},
		{"t=%START_TIME(%s.%3f)%", "", []TemplatePart{text("t="), {Op: OpStartTime, Times: []TimePart{{Epoch: true}, {Text: "."}, {Digits: 3}}}}},
		{"%", `a single "%"`, nil},
		{"abc%123", `a single "%"`, nil},
		{"%PROTOCOL", `a single "%"`, nil},
		{"%PROTOCOL and", "without", nil},
		{"%PROTOCOL%%", `a single "%"`, nil},
		{"%req(x)%", `a single "%"`, nil},
		{"%MOOD%", `"%MOOD%" is no operator`, nil},
		{"%REQ%", "is empty", nil},
		{"%REQ()%", "is empty", nil},
		{"%REQ(a b)%", "cannot have", nil},
		{"%REQ(a?b c)%", "cannot have", nil},
		{"%REQ(x", "without an end", nil},
		{"%REQ(x):0%", "no number", nil},
		{"%REQ(x):many%", "no number", nil},
		{"%REQ(x)y%", `"y" behind`, nil},
		{"%PROTOCOL:3%", `":3" behind`, nil},
		{"%PROTOCOL(x)%", "takes nothing", nil},
		{"%START_TIME(%Q)%", "not known", nil},
		{"%START_TIME(%s.%f3%)%", "not known", nil},
	}
	for _, tt := range tests {
		got, err := ParseTemplate(tt.value)
		switch {
		case err == nil && tt.fault != "", err != nil && (tt.fault == "" || !strings.Contains(err.Why, tt.fault)):
			t.Errorf("ParseTemplate(%q) = %v, want %q", tt.value, err, tt.fault)
		case err == nil:
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseTemplate(%q) (-want +got):\n%s", tt.value, diff)
			}
		}
	}
	for _, name := range Operators() {
		parameter := ""
		if operators[name].takesHeader() {
			parameter = "(x)"
		}
		if got, err := ParseTemplate("%" + name + parameter + "%"); err != nil || len(got) != 1 || got[0].Op != operators[name] {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// FuzzParseTemplate: a value is text, operators or refused; what is text comes out as it went in, but for its escapes.
func FuzzParseTemplate(f *testing.F) {
	for _, seed := range []string{"", "100%%", "a %REQ(x?y):3% b", "%START_TIME(%Y)%", "%%%PROTOCOL%%%", "%REQ(", "%A%B%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		parts, err := ParseTemplate(value)
		if err != nil {
			if parts != nil || err.Why == "" {
				t.Errorf("%v and %+v", parts, err)
			}
			return
		}
		for i, p := range parts {
			if p.Op == OpText && (p.Text == "" || i > 0 && parts[i-1].Op == OpText) {
				t.Errorf("part %d of %v is no text of its own", i, parts)
			}
		}
		if again, err := ParseTemplate(strings.ReplaceAll(value, "%", "%%")); err != nil || len(again) > 1 || len(again) == 1 && again[0].Text != value {
			t.Errorf("escaped, %q is %v %v", value, again, err)
		}
	})
}
