package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"

	"fairlead.dev/fairlead/internal/model"
)

// maxText bounds what a user may write, in bytes.
const maxText = 4096

var errTooLong = errors.New("too long")

// Condition compiles a text that must say yes or no.
func Condition(text string) (model.Expression, error) {
	return compile(text, "the expression is %s, not true or false: compare it with something", cel.BoolType)
}

// Text compiles a text that gives one: the value of a label. Numbers and yes or no are written out.
func Text(text string) (model.Expression, error) {
	out, err := compile(text, "the expression is %s: text, numbers and true or false can be a value", cel.StringType, cel.IntType, cel.DoubleType, cel.BoolType, cel.DurationType)
	if err != nil {
		return nil, err
	}
	if len(out) == model.MaxInstructions {
		return nil, errTooLong
	}
	return append(out, model.Instruction{Op: model.ExprToText}), nil
}

func compile(text, otherwise string, results ...*cel.Type) (model.Expression, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("longer than %d bytes", maxText)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, explain(issues)
	}
	if !isOne(checked.OutputType(), results) {
		return nil, fmt.Errorf(otherwise, checked.OutputType())
	}
	t := translator{types: checked.NativeRep()}
	if err := t.push(checked.NativeRep().Expr()); err != nil {
		return nil, err
	}
	_, most, ok := t.out.Depth()
	if !ok || len(t.out) > model.MaxInstructions || most > model.MaxExpressionStack {
		return nil, errTooLong
	}
	return t.out, nil
}

func isOne(t *cel.Type, of []*cel.Type) bool { return slices.ContainsFunc(of, t.IsExactType) }

// environment is what a text may say, made once: that takes milliseconds.
var environment = sync.OnceValues(newEnvironment) //nolint:gochecknoglobals // a table that never changes

// newEnvironment knows of CEL's macros has() alone: the others go through lists, and no attribute is one.
func newEnvironment() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	p := &provider{Registry: registry, objects: attributes()}
	options := []cel.EnvOption{cel.StdLib(), cel.ClearMacros(), cel.Macros(cel.HasMacro), cel.CustomTypeProvider(p), cel.CustomTypeAdapter(registry)}
	for object := range p.objects {
		options = append(options, cel.Variable(object, cel.ObjectType(typeName(object))))
	}
	return cel.NewCustomEnv(options...)
}

// explain makes one line of the first thing that is wrong.
func explain(issues *cel.Issues) error {
	first := issues.Errors()[0]
	message := strings.ReplaceAll(first.Message, typeName(""), "")
	if strings.Contains(message, "undefined field") || strings.Contains(message, "undeclared reference") {
		message += "; there are " + strings.Join(Attributes(), ", ")
	}
	return fmt.Errorf("column %d: %s", first.Location.Column()+1, message)
}

// translator makes the program of a checked text.
type translator struct {
	types *ast.AST
	out   model.Expression
}

func (t *translator) emit(i model.Instruction) error {
	t.out = append(t.out, i)
	return nil
}

func (t *translator) push(e ast.Expr) error {
	switch e.Kind() {
	case ast.LiteralKind:
		return t.literal(e)
	case ast.SelectKind:
		return t.selected(e)
	case ast.CallKind:
		return t.call(e.AsCall())
	case ast.IdentKind:
		return fmt.Errorf("%s has parts, name one of them", e.AsIdent())
	case ast.UnspecifiedExprKind, ast.ComprehensionKind, ast.ListKind, ast.MapKind, ast.StructKind:
	}
	return errors.New("lists, maps and messages are not known to sidecars; a list may stand behind \"in\"")
}

func (t *translator) literal(e ast.Expr) error {
	switch v := e.AsLiteral().(type) {
	case types.Bool:
		number := 0
		if v {
			number = 1
		}
		return t.emit(model.Instruction{Op: model.ExprBool, Number: number})
	case types.Int:
		return t.emit(model.Instruction{Op: model.ExprInt, Number: int(v)})
	case types.Double:
		return t.emit(model.Instruction{Op: model.ExprDouble, Real: float64(v)})
	case types.String:
		return t.emit(model.Instruction{Op: model.ExprLiteral, Text: string(v)})
	}
	return fmt.Errorf("%v: sidecars know text, whole numbers, fractions, true and false", e.AsLiteral())
}

// selected is an attribute, a header of one, or the question whether there is one.
func (t *translator) selected(e ast.Expr) error {
	s := e.AsSelect()
	op := model.ExprAttribute
	if s.IsTestOnly() {
		op = model.ExprHas
	}
	if of := s.Operand(); of.Kind() == ast.IdentKind {
		if !s.IsTestOnly() && t.types.GetType(e.ID()).Kind() == types.MapKind {
			return fmt.Errorf("%s.%s has members, name one of them as in %[1]s.%[2]s['x-name']", of.AsIdent(), s.FieldName())
		}
		return t.emit(model.Instruction{Op: op, Text: of.AsIdent() + "." + s.FieldName()})
	}
	headers, ok := attributeOf(s.Operand())
	if !ok {
		return fmt.Errorf("%q is not a part of what stands before it", s.FieldName())
	}
	return t.emit(model.Instruction{Op: op, Text: headers, Key: strings.ToLower(s.FieldName())})
}

// attributeOf names the attribute that an expression is.
func attributeOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.SelectKind || e.AsSelect().IsTestOnly() || e.AsSelect().Operand().Kind() != ast.IdentKind {
		return "", false
	}
	return e.AsSelect().Operand().AsIdent() + "." + e.AsSelect().FieldName(), true
}

// plain are the functions whose operands are all values.
func plain(name string) (model.ExpressionOp, bool) {
	op, ok := map[string]model.ExpressionOp{
		operators.LogicalNot: model.ExprNot, operators.Negate: model.ExprNegate,
		operators.LogicalAnd: model.ExprAnd, operators.LogicalOr: model.ExprOr, operators.Conditional: model.ExprChoose,
		operators.Equals: model.ExprEqual, operators.NotEquals: model.ExprNotEqual, operators.Less: model.ExprLess,
		operators.LessEquals: model.ExprLessEqual, operators.Greater: model.ExprGreater, operators.GreaterEquals: model.ExprGreaterEqual,
		operators.Add: model.ExprAdd, operators.Subtract: model.ExprSubtract, operators.Multiply: model.ExprMultiply,
		operators.Divide: model.ExprDivide, operators.Modulo: model.ExprModulo,
		overloads.StartsWith: model.ExprStartsWith, overloads.EndsWith: model.ExprEndsWith, overloads.Contains: model.ExprContains,
		overloads.Size: model.ExprSize, overloads.TypeConvertString: model.ExprToText, overloads.TypeConvertInt: model.ExprToInt,
		overloads.TypeConvertDouble: model.ExprToDouble,
	}[name]
	return op, ok
}

func (t *translator) call(c ast.CallExpr) error {
	operands := c.Args()
	if c.IsMemberFunction() {
		operands = append([]ast.Expr{c.Target()}, operands...)
	}
	if op, ok := plain(c.FunctionName()); ok {
		for _, operand := range operands {
			if err := t.push(operand); err != nil {
				return err
			}
		}
		return t.emit(model.Instruction{Op: op})
	}
	switch c.FunctionName() {
	case operators.In:
		return t.in(operands[0], operands[1])
	case operators.Index:
		return t.header(model.ExprAttribute, operands[0], operands[1])
	case overloads.Matches:
		return t.matches(operands[0], operands[1])
	case overloads.TypeConvertDuration:
		text, err := textOf(operands[0], "duration()")
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration: write it like \"1.5s\"", text)
		}
		return t.emit(model.Instruction{Op: model.ExprDuration, Number: int(d)})
	}
	return fmt.Errorf("%s is not known to sidecars", strings.Trim(c.FunctionName(), "_@"))
}

// in is the question whether a value is in a list, or a header among the headers.
func (t *translator) in(value, among ast.Expr) error {
	if among.Kind() != ast.ListKind {
		return t.header(model.ExprHas, among, value)
	}
	if err := t.push(value); err != nil {
		return err
	}
	elements := among.AsList().Elements()
	for _, e := range elements {
		if err := t.push(e); err != nil {
			return err
		}
	}
	return t.emit(model.Instruction{Op: model.ExprIn, Number: len(elements)})
}

func (t *translator) header(op model.ExpressionOp, of, name ast.Expr) error {
	attribute, ok := attributeOf(of)
	if !ok {
		return errors.New("only request.headers and response.headers have members")
	}
	text, err := textOf(name, attribute)
	if err != nil {
		return err
	}
	return t.emit(model.Instruction{Op: op, Text: attribute, Key: strings.ToLower(text)})
}

func (t *translator) matches(value, pattern ast.Expr) error {
	text, err := textOf(pattern, "matches()")
	if err != nil {
		return err
	}
	if _, err := model.CompileSearchRegex(text); err != nil {
		return err
	}
	if err := t.push(value); err != nil {
		return err
	}
	return t.emit(model.Instruction{Op: model.ExprMatches, Text: text})
}

// textOf gives a text that must be written out.
func textOf(e ast.Expr, of string) (string, error) {
	if e.Kind() == ast.LiteralKind {
		if s, ok := e.AsLiteral().(types.String); ok {
			return string(s), nil
		}
	}
	return "", fmt.Errorf("%s takes a text in quotes here", of)
}
