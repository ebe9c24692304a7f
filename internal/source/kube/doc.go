// Package kube makes a Kubernetes API server the source of configuration, and writes statuses back to it.
//
// In: a *rest.Config. Out of [Source]: what package file gives for manifests, typed objects in changes; the first
// [source.Change] holds everything there is. Into [Writer]: the status that an object should have.
//
// Objects are stripped to what internal/config reads as they are decoded and never kept: a follower remembers the
// name and the resourceVersion of what it saw, so that a new list after a disconnection says what changed and what
// is gone (docs/adr/0008-what-is-watched.md). Between follower and sink there is one pending entry per object, the
// newest. Kinds of the API server itself must be listed before there is a first change. Custom kinds may be absent:
// they count as empty, are found when their CRD is installed, and their objects are deleted when it is removed.
//
// What it needs: "list" and "watch" on the resources of [Rules], of which it names the one that is missing; to write
// statuses "get" on the resource and "patch" on its status. Discovery is open to every account.
//
// Nothing that comes from the API server stops it. While it is away the last state stays; a kind that may not be
// read, or an object that cannot be decoded, is a [model.Problem] and keeps its last good version. Run blocks until
// everything it started has ended; Problems and Set are safe from any goroutine.
//
// To debug: [Source.Problems] says what holds up the first change; at debug level every list, and every change that
// is handed on, is a line.
package kube
