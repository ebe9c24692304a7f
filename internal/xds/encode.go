package xds

import "google.golang.org/protobuf/encoding/protowire"

// The messages of a server are written by hand: what is in them is bytes already, and a message of protobuf's around them would be made for
// each client. Tests compare them with protobuf's own.

// Fields of envoy/service/discovery/v3/discovery.proto and google/protobuf/any.proto.
const (
	responseVersion  protowire.Number = 1 // DiscoveryResponse.version_info, DeltaDiscoveryResponse.system_version_info
	responseResource protowire.Number = 2 // of the former Any, of the latter Resource
	responseURL      protowire.Number = 4
	responseNonce    protowire.Number = 5
	responseRemoved  protowire.Number = 6

	resourceVersion protowire.Number = 1
	resourceAny     protowire.Number = 2
	resourceName    protowire.Number = 3

	anyURL   protowire.Number = 1
	anyValue protowire.Number = 2
)

// appendState writes a response of the state of the world.
func appendState(b []byte, r *response) []byte {
	b = appendText(b, responseVersion, r.version)
	url := r.typ.URL()
	for i := range r.resources {
		b = appendAny(b, responseResource, url, r.resources[i].Body)
	}
	b = appendText(b, responseURL, url)
	return appendText(b, responseNonce, r.nonce)
}

// appendDelta writes a response of the protocol of differences.
func appendDelta(b []byte, r *response) []byte {
	b = appendText(b, responseVersion, r.version)
	url := r.typ.URL()
	for i := range r.resources {
		of := &r.resources[i]
		b = protowire.AppendTag(b, responseResource, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeText(of.Version)+sizeField(sizeAny(url, of.Body))+sizeText(of.Name)))
		b = appendText(b, resourceVersion, of.Version)
		b = appendAny(b, resourceAny, url, of.Body)
		b = appendText(b, resourceName, of.Name)
	}
	b = appendText(b, responseURL, url)
	b = appendText(b, responseNonce, r.nonce)
	for _, n := range r.removed {
		b = protowire.AppendTag(b, responseRemoved, protowire.BytesType) // an empty name is one, too
		b = protowire.AppendString(b, n)
	}
	return b
}

func appendAny(b []byte, field protowire.Number, url string, body []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(sizeAny(url, body)))
	b = appendText(b, anyURL, url)
	if len(body) > 0 {
		b = protowire.AppendTag(b, anyValue, protowire.BytesType)
		b = protowire.AppendBytes(b, body)
	}
	return b
}

func sizeAny(url string, body []byte) int {
	if len(body) == 0 {
		return sizeText(url)
	}
	return sizeText(url) + sizeField(len(body))
}

// appendText writes a field; an empty one is left out.
func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func sizeText(s string) int {
	if s == "" {
		return 0
	}
	return sizeField(len(s))
}

// sizeField is how long a field of n bytes is; the tags of all that are used here are one byte.
func sizeField(n int) int { return 1 + protowire.SizeBytes(n) }
