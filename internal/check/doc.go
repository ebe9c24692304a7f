// Package check says whether a cluster is fit for the mesh, and whether the mesh in it is well: what `fairlead check`
// prints.
//
// It has two halves that meet in one value. Gather asks the API server and the pods, everything at once and each
// question with its own deadline, and gives Facts; a question without an answer is a fact too. Evaluate is a pure
// function from Facts to a Report: categories of checks, each with what is wrong, what to do about it, and the anchor of
// its description in docs/reference/check.md. A check never asks, a question never judges. That is the reason for a
// package of its own: every verdict is tested with a value in and a value out.
//
// Facts and Report are plain values. Gather starts goroutines and has joined them when it returns.
//
// It changes nothing in the cluster. SelfSubjectAccessReviews are the only objects that it posts, and they are not kept.
//
// To debug a verdict, print the Facts it was made of.
package check
