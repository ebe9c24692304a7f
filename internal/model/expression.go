package model

// Expression is a condition or a value that a user has written in CEL, as a program for a machine with a stack: operands first,
// then what is done with them. An empty one says nothing. What an instruction cannot be done with is an error, which later
// ones pass on, except where CEL says that they do not need the operand.
type Expression []Instruction

// Instruction is one step.
type Instruction struct {
	Op ExpressionOp
	// Text is that of ExprLiteral, ExprAttribute, ExprHas and ExprMatches.
	Text string
	// Key is the name of the header, in lower case, where an attribute is a map of them.
	Key string
	// Number is that of ExprBool (0 or 1), ExprInt and ExprDuration (nanoseconds), and how many operands ExprIn takes beside the first.
	Number int
	// Real is that of ExprDouble.
	Real float64
}

// ExpressionOp is what an instruction does.
type ExpressionOp uint8

// The operations. Those that push a value come first.
const (
	ExprBool ExpressionOp = iota + 1
	ExprInt
	ExprDouble
	ExprLiteral
	ExprDuration
	// ExprAttribute pushes what is known of the call, or an error where it is not known.
	ExprAttribute
	// ExprHas pushes whether it is known.
	ExprHas
	ExprNot
	ExprNegate
	ExprAnd
	ExprOr
	// ExprChoose takes a condition and two values.
	ExprChoose
	ExprEqual
	ExprNotEqual
	ExprLess
	ExprLessEqual
	ExprGreater
	ExprGreaterEqual
	ExprAdd
	ExprSubtract
	ExprMultiply
	ExprDivide
	ExprModulo
	// ExprIn takes a value, and Number values that it may be.
	ExprIn
	ExprStartsWith
	ExprEndsWith
	ExprContains
	// ExprMatches takes a text in which the regular expression Text must match somewhere.
	ExprMatches
	ExprSize
	// ExprToText, ExprToInt and ExprToDouble convert.
	ExprToText
	ExprToInt
	ExprToDouble
)

// String gives the words of the operation.
func (o ExpressionOp) String() string {
	words := [...]string{
		"unknown", "bool", "int", "double", "literal", "duration", "attribute", "has", "not", "negate", "and", "or", "choose",
		"equal", "not equal", "less", "less equal", "greater", "greater equal", "add", "subtract", "multiply", "divide", "modulo",
		"in", "starts with", "ends with", "contains", "matches", "size", "to text", "to int", "to double",
	}
	if int(o) < len(words) {
		return words[o]
	}
	return words[0]
}

// Bounds of an expression.
const (
	MaxInstructions    = 256
	MaxExpressionStack = 32
)

// Depth is how many values the machine has at the end, and at the most; ok is false where an instruction lacks operands.
func (e Expression) Depth() (end, most int, ok bool) {
	for i := range e {
		takes := e[i].takes()
		if takes > end || takes < 0 {
			return 0, 0, false
		}
		end += 1 - takes
		most = max(most, end)
	}
	return end, most, true
}

// takes is how many values an instruction takes from the stack; each puts one there.
func (i *Instruction) takes() int {
	switch i.Op {
	case ExprBool, ExprInt, ExprDouble, ExprLiteral, ExprDuration, ExprAttribute, ExprHas:
		return 0
	case ExprNot, ExprNegate, ExprMatches, ExprSize, ExprToText, ExprToInt, ExprToDouble:
		return 1
	case ExprChoose:
		return 3
	case ExprIn:
		if i.Number < 0 || i.Number > MaxExpressionStack {
			return -1
		}
		return i.Number + 1
	case ExprAnd, ExprOr, ExprEqual, ExprNotEqual, ExprLess, ExprLessEqual, ExprGreater, ExprGreaterEqual,
		ExprAdd, ExprSubtract, ExprMultiply, ExprDivide, ExprModulo, ExprStartsWith, ExprEndsWith, ExprContains:
		return 2
	}
	return -1
}
