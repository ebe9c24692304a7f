// Package admission speaks the protocol of Kubernetes' admission webhooks: AdmissionReview (admission.k8s.io/v1) in,
// AdmissionReview out. What to answer is for a function that the caller gives; the mutating webhook of package inject
// and the validating one of package controlplane are two of them.
//
// A handler is safe for concurrent use, bounds what it reads, and never panics on what it is sent. To debug: what is no
// review is answered with a status of 4xx whose text says why, and handed to Options.Refused.
package admission
