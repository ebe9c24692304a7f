package source

import "fairlead.dev/fairlead/internal/model"

// Object is one object of configuration that was read without a mistake.
type Object struct {
	Ref model.Ref
	// Value is a pointer to the typed object: *corev1.Service, *appsv1.Deployment, *istionetv1.VirtualService (for
	// every version of networking.istio.io), *gatewayv1.HTTPRoute (v1beta1 too), and so on. It is shared: a reader that
	// changes it makes a copy.
	Value any
	// Pos is the first line of the document; zero for objects of an API server.
	Pos model.Position
	// Locate finds the line of a field path such as "spec.http[0].route[1].destination.host" or
	// "metadata.annotations[fairlead.dev/inject]". A path that was not written gives its nearest written parent.
	// Nil where objects have no lines.
	Locate func(field string) model.Position
	// NoStatus is set for objects of a source that takes no statuses, beside one that does.
	NoStatus bool
}

// Change is what happened since the previous one.
type Change struct {
	// Upserts are new or changed objects. The first Change holds every object.
	Upserts []Object
	// Deletes are objects no longer in force.
	Deletes []model.Ref
	// Problems are all present reading problems, ordered by file and line; they replace the former ones.
	Problems []model.Problem
}
