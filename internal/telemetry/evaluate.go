package telemetry

import (
	"bytes"
	"cmp"
	"math"
	"regexp"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
)

// Expression is a model.Expression, ready to be evaluated for one call after another. It may be used from any goroutine. A nil one
// holds for every call.
type Expression struct {
	program model.Expression
	texts   [][]byte         // of instructions with one, by their place
	regexes []*regexp.Regexp // of ExprMatches, by its place
	sources []attribute      // of ExprAttribute and ExprHas, by their place

	machines sync.Pool // of *machine, none of which is in use
}

// NewExpression makes a program ready. What comes of one with an instruction that is not known here is an error, whatever the
// call, as of an attribute that is not.
func NewExpression(program model.Expression) *Expression {
	if len(program) == 0 {
		return nil
	}
	e := &Expression{
		program: program, texts: make([][]byte, len(program)), regexes: make([]*regexp.Regexp, len(program)),
		sources: make([]attribute, len(program)),
	}
	if end, most, ok := program.Depth(); !ok || end != 1 || most > model.MaxExpressionStack || len(program) > model.MaxInstructions {
		e.program = model.Expression{{Op: model.ExprAttribute}}
		return e
	}
	for i := range program {
		switch in := &program[i]; in.Op { //nolint:exhaustive // the others are another function's, or nobody's
		case model.ExprLiteral:
			e.texts[i] = []byte(in.Text)
		case model.ExprAttribute, model.ExprHas:
			e.sources[i] = attributeNamed(in.Text)
		case model.ExprMatches:
			e.regexes[i], _ = model.CompileSearchRegex(in.Text) // none is an error of the value
		default:
		}
	}
	return e
}

// Holds reports whether the expression is true of a call. What cannot be said of the call is not true, as in Envoy.
func (e *Expression) Holds(r *Record) bool {
	if e == nil {
		return true
	}
	m := e.machine()
	defer e.machines.Put(m)
	v := m.run(e, r)
	return v.is(true)
}

// Append appends what the expression gives for a call as text; ok is false where nothing can be said.
func (e *Expression) Append(b []byte, r *Record) (_ []byte, ok bool) {
	m := e.machine()
	defer e.machines.Put(m)
	v := m.run(e, r)
	if v.kind != textValue {
		return b, false
	}
	return append(b, v.text...), true
}

func (e *Expression) machine() *machine {
	if m, ok := e.machines.Get().(*machine); ok {
		return m
	}
	return new(machine)
}

// valueKind is what an operand is.
type valueKind uint8

const (
	noValue valueKind = iota // an error
	boolValue
	intValue
	doubleValue
	textValue
	durationValue
)

// operand is one on the stack. text belongs to the call, to the expression, or to the machine.
type operand struct {
	kind   valueKind
	number int64 // of an int, a duration (nanoseconds) and a bool (0 or 1)
	real   float64
	text   []byte
}

func truth(is bool) operand { //nolint:revive // a value, no control
	if is {
		return operand{kind: boolValue, number: 1}
	}
	return operand{kind: boolValue}
}

func whole(n int64) operand { return operand{kind: intValue, number: n} }

func text(b []byte) operand { return operand{kind: textValue, text: b} }

func (v operand) is(b bool) bool { return v.kind == boolValue && (v.number != 0) == b }

// machine evaluates one expression for one call.
type machine struct {
	stack [model.MaxExpressionStack]operand
	n     int
	made  [256]byte // texts that are nowhere else
	used  int
}

// maxMade bounds a text that is put together, in bytes.
const maxMade = 1 << 10

func (m *machine) run(e *Expression, r *Record) operand {
	m.n, m.used = 0, 0
	for i := range e.program {
		in := &e.program[i]
		var v operand
		switch in.Op { //nolint:exhaustive // the others are another function's, or nobody's
		case model.ExprBool:
			v = operand{kind: boolValue, number: int64(in.Number)}
		case model.ExprInt:
			v = whole(int64(in.Number))
		case model.ExprDouble:
			v = operand{kind: doubleValue, real: in.Real}
		case model.ExprLiteral:
			v = text(e.texts[i])
		case model.ExprDuration:
			v = operand{kind: durationValue, number: int64(in.Number)}
		case model.ExprAttribute:
			v = m.attribute(e.sources[i], in.Key, r)
		case model.ExprHas:
			got := m.attribute(e.sources[i], in.Key, r)
			v = truth(got.kind != noValue)
		case model.ExprIn:
			v = m.in(in.Number)
		case model.ExprChoose:
			v = m.choose()
		case model.ExprMatches:
			v = m.matches(e.regexes[i])
		case model.ExprNot, model.ExprNegate, model.ExprSize, model.ExprToText, model.ExprToInt, model.ExprToDouble:
			v = m.convert(in.Op, m.pop())
		default:
			b, a := m.pop(), m.pop()
			v = m.combine(in.Op, a, b)
		}
		m.stack[m.n] = v
		m.n++
	}
	return m.stack[0]
}

func (m *machine) pop() operand {
	m.n--
	return m.stack[m.n]
}

// keep gives room for a text that is put together; what is appended to it is for use at once.
func (m *machine) keep() []byte { return m.made[m.used:m.used:len(m.made)] }

func (m *machine) kept(b []byte) operand {
	if len(b) > maxMade {
		return operand{}
	}
	if m.used+len(b) <= len(m.made) { // it is in made: append moves what is longer
		m.used += len(b)
	}
	return text(b)
}

func (m *machine) in(n int) operand {
	m.n -= n
	among := m.stack[m.n : m.n+n]
	v := m.pop()
	found := false
	for _, one := range among {
		if one.kind == noValue {
			return operand{} // a list of which a part is an error is one
		}
		found = equal(v, one).is(true) || found
	}
	if v.kind == noValue {
		return operand{}
	}
	return truth(found)
}

func (m *machine) choose() operand {
	otherwise, then, condition := m.pop(), m.pop(), m.pop()
	switch {
	case condition.is(true):
		return then
	case condition.is(false):
		return otherwise
	}
	return operand{}
}

func (m *machine) matches(re *regexp.Regexp) operand {
	v := m.pop()
	if re == nil || v.kind != textValue {
		return operand{}
	}
	return truth(re.Match(v.text))
}

func (m *machine) convert(op model.ExpressionOp, v operand) operand {
	switch {
	case op == model.ExprNot && v.kind == boolValue:
		return truth(v.number == 0)
	case op == model.ExprNegate && v.kind == intValue && v.number != math.MinInt64:
		return whole(-v.number)
	case op == model.ExprNegate && v.kind == doubleValue:
		return operand{kind: doubleValue, real: -v.real}
	case op == model.ExprSize && v.kind == textValue:
		return whole(int64(utf8.RuneCount(v.text)))
	case op == model.ExprToText:
		return m.toText(v)
	case op == model.ExprToInt:
		return toInt(v)
	case op == model.ExprToDouble:
		return toDouble(v)
	}
	return operand{}
}

func (m *machine) toText(v operand) operand {
	switch v.kind {
	case textValue:
		return v
	case boolValue:
		return m.kept(strconv.AppendBool(m.keep(), v.number != 0))
	case intValue:
		return m.kept(strconv.AppendInt(m.keep(), v.number, 10))
	case doubleValue:
		return m.kept(strconv.AppendFloat(m.keep(), v.real, 'g', -1, 64))
	case durationValue:
		return m.kept(append(strconv.AppendFloat(m.keep(), time.Duration(v.number).Seconds(), 'f', -1, 64), 's'))
	case noValue:
	}
	return operand{}
}

func toInt(v operand) operand {
	switch v.kind {
	case intValue:
		return v
	case doubleValue:
		if v.real > math.MinInt64 && v.real < math.MaxInt64 {
			return whole(int64(v.real))
		}
	case textValue:
		if n, err := strconv.ParseInt(string(v.text), 10, 64); err == nil {
			return whole(n)
		}
	case noValue, boolValue, durationValue:
	}
	return operand{}
}

func toDouble(v operand) operand {
	switch v.kind {
	case doubleValue:
		return v
	case intValue:
		return operand{kind: doubleValue, real: float64(v.number)}
	case textValue:
		if f, err := strconv.ParseFloat(string(v.text), 64); err == nil {
			return operand{kind: doubleValue, real: f}
		}
	case noValue, boolValue, durationValue:
	}
	return operand{}
}

func (m *machine) combine(op model.ExpressionOp, a, b operand) operand {
	switch op { //nolint:exhaustive // the others are another function's, or nobody's
	case model.ExprAnd:
		return both(a, b, false)
	case model.ExprOr:
		return both(a, b, true)
	case model.ExprEqual:
		return equal(a, b)
	case model.ExprNotEqual:
		if v := equal(a, b); v.kind == boolValue {
			return truth(v.number == 0)
		}
		return operand{}
	case model.ExprLess, model.ExprLessEqual, model.ExprGreater, model.ExprGreaterEqual:
		return ordered(op, a, b)
	case model.ExprStartsWith, model.ExprEndsWith, model.ExprContains:
		return within(op, a, b)
	default:
		return m.calculate(op, a, b)
	}
}

// both is && (decisive is false) and || (true): one operand may decide although the other is an error.
func both(a, b operand, decisive bool) operand {
	switch {
	case a.is(decisive), b.is(decisive):
		return truth(decisive)
	case a.kind == boolValue && b.kind == boolValue:
		return truth(!decisive)
	}
	return operand{}
}

func equal(a, b operand) operand {
	switch order, ok := compare(a, b); {
	case ok:
		return truth(order == 0)
	case a.kind == noValue || b.kind == noValue:
		return operand{}
	}
	return truth(false)
}

func ordered(op model.ExpressionOp, a, b operand) operand {
	order, ok := compare(a, b)
	if !ok {
		return operand{}
	}
	switch op { //nolint:exhaustive // the others are another function's, or nobody's
	case model.ExprLess:
		return truth(order < 0)
	case model.ExprLessEqual:
		return truth(order <= 0)
	case model.ExprGreater:
		return truth(order > 0)
	default:
		return truth(order >= 0)
	}
}

// compare orders two values of one kind.
func compare(a, b operand) (order int, ok bool) {
	if a.kind != b.kind {
		return 0, false
	}
	switch a.kind {
	case boolValue, intValue, durationValue:
		return cmp.Compare(a.number, b.number), true
	case doubleValue:
		return cmp.Compare(a.real, b.real), !math.IsNaN(a.real) && !math.IsNaN(b.real)
	case textValue:
		return bytes.Compare(a.text, b.text), true
	case noValue:
	}
	return 0, false
}

func within(op model.ExpressionOp, a, b operand) operand {
	if a.kind != textValue || b.kind != textValue {
		return operand{}
	}
	switch op { //nolint:exhaustive // the others are another function's, or nobody's
	case model.ExprStartsWith:
		return truth(bytes.HasPrefix(a.text, b.text))
	case model.ExprEndsWith:
		return truth(bytes.HasSuffix(a.text, b.text))
	default:
		return truth(bytes.Contains(a.text, b.text))
	}
}

// calculate is arithmetic. What does not fit is an error, as in CEL.
func (m *machine) calculate(op model.ExpressionOp, a, b operand) operand {
	switch {
	case a.kind != b.kind:
	case a.kind == textValue && op == model.ExprAdd:
		return m.kept(append(append(m.keep(), a.text...), b.text...))
	case a.kind == intValue:
		return wholes(op, a.number, b.number)
	case a.kind == durationValue && (op == model.ExprAdd || op == model.ExprSubtract):
		v := wholes(op, a.number, b.number)
		if v.kind == intValue {
			v.kind = durationValue
		}
		return v
	case a.kind == doubleValue:
		return reals(op, a.real, b.real)
	}
	return operand{}
}

func wholes(op model.ExpressionOp, a, b int64) operand {
	switch op { //nolint:exhaustive // the others are another function's, or nobody's
	case model.ExprAdd:
		if c := a + b; (c > a) == (b > 0) {
			return whole(c)
		}
	case model.ExprSubtract:
		if c := a - b; (c < a) == (b > 0) {
			return whole(c)
		}
	case model.ExprMultiply:
		if a == 0 || b == 0 {
			return whole(0)
		}
		if c := a * b; c/b == a && fits(a, b) && fits(b, a) {
			return whole(c)
		}
	case model.ExprDivide:
		if b != 0 && fits(a, b) {
			return whole(a / b)
		}
	case model.ExprModulo:
		if b != 0 && fits(a, b) {
			return whole(a % b)
		}
	default:
	}
	return operand{}
}

// fits reports whether a divided by b, which is not 0, or multiplied by it, may be a whole number of 64 bits.
func fits(a, b int64) bool { return a != math.MinInt64 || b != -1 }

func reals(op model.ExpressionOp, a, b float64) operand {
	v := operand{kind: doubleValue}
	switch op { //nolint:exhaustive // the others are another function's, or nobody's
	case model.ExprAdd:
		v.real = a + b
	case model.ExprSubtract:
		v.real = a - b
	case model.ExprMultiply:
		v.real = a * b
	case model.ExprDivide:
		v.real = a / b
	default:
		return operand{}
	}
	return v
}
