package telemetry

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"

	"fairlead.dev/fairlead/internal/expression"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func exchange() *Record {
	r := entry()
	r.Reporter, r.Code, r.Path, r.Duration = Destination, 503, []byte("/api/user?id=7"), 1500*time.Millisecond
	r.Header, r.Answer = head{"user-agent": "curl/8", "x-debug": "yes"}, head{"retry-after": "1"}
	r.Peer, r.MutualTLS, r.Tries, r.Route = &plan.WorkloadInfo{Name: "orders", Namespace: "myapp", App: "orders"}, true, 2, "one-user"
	return r
}

func connection() *Record {
	return &Record{Reporter: Source, HeadAfter: -1, Sent: 10, Dialled: netip.MustParseAddrPort("10.96.0.5:5432"), Cluster: "outbound|5432||db.myapp.svc.cluster.local"}
}

func condition(tb testing.TB, text string) *Expression {
	tb.Helper()
	program, err := expression.Condition(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return NewExpression(program)
}

func TestConditionsOfCalls(t *testing.T) {
	for _, tc := range []struct {
		text                 string
		exchange, connection bool
	}{
		{"response.code >= 500", true, false},
		{"response.code < 500", false, false}, // unknown of a connection: not true, and neither is its opposite
		{"!has(response.code) || response.code >= 500", true, true},
		{"!has(response.code) || response.code < 500", false, true},
		{"request.url_path == '/api/user' && request.query == 'id=7'", true, false},
		{"request.headers['x-debug'] == 'yes'", true, false},
		{"request.headers['x-none'] == 'yes' || response.code == 503", true, false},
		{"!('x-none' in request.headers) && 'x-debug' in request.headers", true, false},
		{"response.headers['retry-after'] == '1'", true, false},
		{"request.useragent.startsWith('curl')", true, false},
		{"request.duration > duration('1s') && request.duration < duration('2s')", true, false},
		{"connection.mtls", true, false},
		{"downstream_peer.workload == 'orders' && downstream_peer.namespace in ['myapp', 'other']", true, false},
		{"upstream.request_attempt_count > 1", true, false},
		{"destination.port == 5432", false, true},
		{"xds.cluster_name.contains('|db.')", false, true},
		{"xds.route_name.matches('^one-')", true, false},
		{"response.size > 5 ? destination.port == 5432 : response.code == 503", true, true},
		{"string(response.code).endsWith('03')", true, false},
	} {
		e := condition(t, tc.text)
		if got := e.Holds(exchange()); got != tc.exchange {
			t.Errorf("%s = %v of %v, want %v", tc.text, got, exchange(), tc.exchange)
		}
		if got := e.Holds(connection()); got != tc.connection {
			t.Errorf("%s = %v of %v, want %v", tc.text, got, connection(), tc.connection)
		}
	}
	var none *Expression
	if !none.Holds(exchange()) || !NewExpression(nil).Holds(connection()) {
		t.Error("no expression must hold for every call")
	}
}

func TestEveryWordOfAnExpressionIsKnownHere(t *testing.T) {
	for _, word := range expression.Attributes() {
		if attributeNamed(word) == unknownAttribute {
			t.Errorf("%s is accepted by the control plane and not known to sidecars", word)
		}
	}
}

func TestProgramsThatAreNotUnderstoodHoldForNoCall(t *testing.T) {
	for name, program := range map[string]model.Expression{
		"no operands":       {{Op: model.ExprAnd}},
		"two results":       {{Op: model.ExprBool, Number: 1}, {Op: model.ExprBool, Number: 1}},
		"unknown operation": {{Op: 200}},
		"unknown attribute": {{Op: model.ExprAttribute, Text: "request.moon"}},
		"too deep":          slices.Repeat(model.Expression{{Op: model.ExprBool, Number: 1}}, model.MaxExpressionStack+1),
		"broken regex":      {{Op: model.ExprLiteral, Text: "a"}, {Op: model.ExprMatches, Text: "("}},
		"negative list":     {{Op: model.ExprBool, Number: 1}, {Op: model.ExprIn, Number: -1}},
	} {
		if NewExpression(program).Holds(exchange()) {
			t.Errorf("%s: holds", name)
		}
	}
}

// What a sidecar makes of operators is what cel-go makes of them, errors included.
func TestOperatorsMeanWhatCELMeans(t *testing.T) {
	values := []string{
		"true", "false", "0", "-7", "9223372036854775807", "-9223372036854775807", "2.5", "''", "'äb'",
		"duration('1s')", "duration('-2m')", "int('x') == 1", "int('x')",
	}
	binary := []string{"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"}
	env, err := cel.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	check := func(text string) {
		program, err := expression.Condition(text)
		if err != nil {
			return // of other types, or not known to sidecars
		}
		compared++
		ast, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Fatalf("%s: %v", text, issues.Err())
		}
		prg, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := prg.Eval(cel.NoVars())
		want := err == nil && out.Value() == true
		if got := NewExpression(program).Holds(exchange()); got != want {
			t.Errorf("%s = %v, cel-go says %v (%v)", text, got, out, err)
		}
	}
	for _, a := range values {
		check("!(" + a + ")")
		check("string(" + a + ") == 'true' || size(string(" + a + ")) == 1")
		check("size(" + a + ") == 2")
		for _, b := range values {
			for _, op := range binary {
				expr := "(" + a + ") " + op + " (" + b + ")"
				check(expr)
				check("!(" + expr + ")")
				if arithmetic := "+-*/%"; !strings.Contains(arithmetic, op) {
					continue
				}
				for _, c := range []string{"0", "'aa'", "2.5", "duration('2s')"} {
					check(expr + " <= " + c)
				}
			}
			check(a + " in [" + b + ", " + a + "]")
			check("true ? (" + a + ") == (" + b + ") : false")
			check("(" + a + ").startsWith(" + b + ") || (" + a + ").contains(" + b + ")")
		}
	}
	if compared < 500 {
		t.Errorf("%d texts compared: the table has lost its meaning", compared)
	}
}

func TestConditionsAllocateNothing(t *testing.T) {
	e := condition(t, "response.code >= 500 && request.headers['x-debug'] == 'yes' && string(destination.port) == '8080' && downstream_peer.app != 'x'")
	r := exchange()
	r.Header = still{"x-debug", []byte("yes")}
	if !e.Holds(r) {
		t.Fatal("does not hold")
	}
	if n := testing.AllocsPerRun(200, func() { e.Holds(r) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

// still is a head of one field that gives it without allocating.
type still struct {
	name  string
	value []byte
}

func (s still) Get(name string) []byte {
	if name == s.name {
		return s.value
	}
	return nil
}
func (s still) Len() int                    { return 0 }
func (s still) At(int) (name, value []byte) { return nil, nil }
