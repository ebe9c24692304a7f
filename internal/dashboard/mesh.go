package dashboard

import (
	"context"
	"net/url"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/observe"
)

// Mesh is where the dashboard asks. Its methods are called from many goroutines, and return when ctx ends.
type Mesh interface {
	// About says which mesh it is.
	About(ctx context.Context) (About, error)
	// Ask puts a question to the view of observation of every replica of the control plane. It fails where none answers.
	Ask(ctx context.Context, view string, query url.Values) (Answers, error)
	// Follow tells what changes at any replica, until ctx ends.
	Follow(ctx context.Context, heard func(Heard))
	// Sidecar finds that of a pod, "namespace/name".
	Sidecar(ctx context.Context, pod string) (admin.Client, error)
	// Object reads the manifest of an object, as YAML.
	Object(ctx context.Context, o observe.ObjectName) (string, error)
	// Tap hands requests to the sink as they happen, until ctx ends or nobody is left to ask.
	Tap(ctx context.Context, q *observe.Query, sink TapSink) error
}

// About is which mesh it is.
type About struct {
	// Mesh is "lab" or "cluster", Name that of the lab, or of the cluster's API server.
	Mesh string `json:"mesh"`
	Name string `json:"name"`
	// Replicas is how many of the control plane run.
	Replicas int `json:"replicas"`
}

// Answers are those of the replicas, JSON each. Missing says in one line who did not answer, and why.
type Answers struct {
	Bodies  [][]byte
	Missing string
}

// Heard is news of a replica.
type Heard struct {
	// Changes are what has changed there. They are zero where only Lost is told.
	Changes observe.Changes
	// Lost is why a replica cannot be followed any more.
	Lost error
}

// TapSink takes what a tap has to tell. Its methods are called from one goroutine.
type TapSink interface {
	Began(b *observe.Began) error
	// Request is one request; lines are those that the command would print.
	Request(e *observe.Event, lines string) error
	Note(text string) error
}
