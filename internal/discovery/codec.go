package discovery

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/plan"
)

// MaxBody bounds one encoded resource, in bytes. A shard of 1,000 endpoints is about 60 KB.
const MaxBody = 4 << 20

// The field numbers of Payload in resource.proto.
const (
	fieldDestination = iota + 1
	fieldShard
	fieldWorkload
	fieldInbound
	fieldDNS
	fieldTrust
	fieldMesh
	fieldSeal
	fieldCredential
)

var (
	errNotOneField = errors.New("a resource is exactly one field")
	errNoName      = errors.New("the resource has no name")
	errTooLarge    = fmt.Errorf("more than %d bytes", MaxBody)
)

// Encode gives the bytes of r, as message Payload of resource.proto. Equal resources give equal bytes. The error
// says what cannot be sent: a text that is no UTF-8, an address with a zone, a value out of its range, too much of
// everything.
func Encode(r plan.Resource) ([]byte, error) {
	c := coder{}
	if !c.resource(r) {
		return nil, fmt.Errorf("encoding %s: no message for a %T", r.ResourceName(), r)
	}
	err := c.result()
	switch {
	case err != nil:
	case r.ResourceName() == "":
		err = errNoName
	case len(c.buf) > MaxBody:
		err = errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", r.ResourceName(), err)
	}
	return c.buf, nil
}

// resource carries r as the one field of message Payload; false where there is none for it.
func (c *coder) resource(r plan.Resource) bool {
	switch r := r.(type) {
	case *plan.Destination:
		body(c, fieldDestination, "destination", r, destinationFields)
	case *plan.EndpointShard:
		body(c, fieldShard, "shard", r, shardFields)
	case *plan.Workload:
		body(c, fieldWorkload, "workload", r, workloadFields)
	case *plan.InboundPolicy:
		body(c, fieldInbound, "inbound", r, inboundFields)
	case *plan.DNSName:
		body(c, fieldDNS, "dns", r, dnsNameFields)
	case *plan.TrustBundle:
		body(c, fieldTrust, "trust", r, trustFields)
	case *plan.MeshGlobal:
		body(c, fieldMesh, "mesh", r, meshFields)
	case *plan.Seal:
		body(c, fieldSeal, "seal", r, sealFields)
	case *plan.Credential:
		body(c, fieldCredential, "credential", r, credentialFields)
	default:
		return false
	}
	return true
}

func body[T any](c *coder, n protowire.Number, name string, v *T, walk func(*coder, *T)) {
	if !doneMessage(c, n, name, "", walk) {
		nested(c, n, name, v, walk)
	}
}

// Decode is the reverse of Encode. It accepts what Encode produces, and beyond that only fields and values of enums that it
// does not know: fields are dropped, values become what is safe in their place, and where nothing is, a part of the resource
// is put out of force, or the resource refused. Anything else is an error that names the field by its numbers. The result shares no memory with body.
func Decode(body []byte) (plan.Resource, error) { //nolint:ireturn // which type it is stands in the bytes
	r, _, err := decode(body)
	return r, err
}

// decode also tells what was left out.
func decode(body []byte) (r plan.Resource, left leftOut, err error) { //nolint:ireturn // as Decode
	if len(body) > MaxBody {
		return nil, leftOut{}, fmt.Errorf("decoding a resource: %w", errTooLarge)
	}
	c := &coder{walker: walker{decoding: true, buf: body}}
	c.at = c.room[:0]
	if c.peek() {
		r = c.payload()
	}
	switch err = c.result(); {
	case c.err == nil && (r == nil || len(c.buf) > 0):
		err = errNotOneField
	case c.err == nil && r.ResourceName() == "":
		err = errNoName
	case c.err == nil && c.unsafe:
		err = fmt.Errorf("this sidecar is too old to obey it: %s", c.left.String())
	}
	if err != nil {
		return nil, leftOut{}, fmt.Errorf("decoding a resource: %w", err)
	}
	return r, c.left, nil
}

// payload takes the one field that stands at the front.
func (c *coder) payload() plan.Resource { //nolint:ireturn // as Decode
	switch int(c.msg.num) {
	case fieldDestination:
		return take(c, "destination", &plan.Destination{}, destinationFields)
	case fieldShard:
		return take(c, "shard", &plan.EndpointShard{}, shardFields)
	case fieldWorkload:
		return take(c, "workload", &plan.Workload{}, workloadFields)
	case fieldInbound:
		return take(c, "inbound", &plan.InboundPolicy{}, inboundFields)
	case fieldDNS:
		return take(c, "dns", &plan.DNSName{}, dnsNameFields)
	case fieldTrust:
		return take(c, "trust", &plan.TrustBundle{}, trustFields)
	case fieldMesh:
		return take(c, "mesh", &plan.MeshGlobal{}, meshFields)
	case fieldSeal:
		return take(c, "seal", &plan.Seal{}, sealFields)
	case fieldCredential:
		return take(c, "credential", &plan.Credential{}, credentialFields)
	}
	return nil
}

func take[T any](c *coder, name string, v *T, walk func(*coder, *T)) *T {
	if n := c.msg.num; c.next(n, protowire.BytesType) {
		nested(c, n, name, v, walk)
	}
	return v
}

// Version names the content of an encoded resource: the first 16 hexadecimal digits of its SHA-256. Two control planes
// that compile the same configuration give it the same version, so either resumes the other's clients.
func Version(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}
