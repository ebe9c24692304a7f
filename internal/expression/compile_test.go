package expression

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

func TestCompile(t *testing.T) {
	for _, tc := range []struct {
		text string
		want model.Expression
	}{
		{"response.code >= 400", model.Expression{
			{Op: model.ExprAttribute, Text: "response.code"}, {Op: model.ExprInt, Number: 400}, {Op: model.ExprGreaterEqual},
		}},
		{"!has(response.code) || request.headers['X-Debug'] == 'yes'", model.Expression{
			{Op: model.ExprHas, Text: "response.code"},
			{Op: model.ExprNot},
			{Op: model.ExprAttribute, Text: "request.headers", Key: "x-debug"},
			{Op: model.ExprLiteral, Text: "yes"},
			{Op: model.ExprEqual},
			{Op: model.ExprOr},
		}},
		{"'x-a' in request.headers && request.headers.b.matches('^c')", model.Expression{
			{Op: model.ExprHas, Text: "request.headers", Key: "x-a"},
			{Op: model.ExprAttribute, Text: "request.headers", Key: "b"},
			{Op: model.ExprMatches, Text: "^c"},
			{Op: model.ExprAnd},
		}},
		{"response.code in [502, 503] ? request.duration > duration('1s') : false", model.Expression{
			{Op: model.ExprAttribute, Text: "response.code"},
			{Op: model.ExprInt, Number: 502},
			{Op: model.ExprInt, Number: 503},
			{Op: model.ExprIn, Number: 2},
			{Op: model.ExprAttribute, Text: "request.duration"},
			{Op: model.ExprDuration, Number: 1e9},
			{Op: model.ExprGreater},
			{Op: model.ExprBool},
			{Op: model.ExprChoose},
		}},
	} {
		got, err := Condition(tc.text)
		if err != nil {
			t.Errorf("Condition(%s): %v", tc.text, err)
			continue
		}
		t.Logf("%s: %v", tc.text, got)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("Condition(%s) (-want +got):\n%s", tc.text, diff)
		}
	}
}

func TestCompileSaysWhatIsWrong(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"response.code >=", "column 17: Syntax error"},
		{"response.cod >= 400", "undefined field 'cod'"},
		{"respons.code >= 400", "undeclared reference to 'respons'"},
		{"response.code == '400'", "no matching overload"},
		{"response.code", "int, not true or false"},
		{"request.headers == {}", "name one of them"},
		{"request.headers[request.host] == 'x'", "a text in quotes"},
		{"request.path.matches('(')", "invalid regex"},
		{"request.path.matches(request.host)", "a text in quotes"},
		{"[1].exists(x, x == 1)", "undeclared reference"},
		{"1u == 1u", "whole numbers"},
		{"duration('x') > request.duration", "not a duration"},
		{"timestamp('2026-01-01T00:00:00Z') == timestamp('2026-01-01T00:00:00Z')", "not known to sidecars"},
		{"request == request", "name one of them"},
		{strings.Repeat("true && ", 300) + "true", "too long"},
		{strings.Repeat("x", maxText+1), "longer than"},
	} {
		if got, err := Condition(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Condition(%.60s) = %v, %v, want one line with %q", tc.text, got, err, tc.want)
		}
	}
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"response.code >= 400", "!has(response.code)", "'a' in request.headers", "request.path.startsWith('/a') ? true : false",
		"1 + 2 * 3 == 7", "response.code in [1, 2]", "-1 < 2", "size(request.host) > 3", "request.headers.a.b == 'c'", "has(request.headers.a)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Condition(text)
		if err != nil {
			return
		}
		if end, most, ok := got.Depth(); !ok || end != 1 || most > model.MaxExpressionStack || len(got) > model.MaxInstructions {
			t.Errorf("Condition(%q) = %v, which leaves %d", text, got, end)
		}
	})
}
