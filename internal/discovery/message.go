package discovery

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/protofield"
)

// The messages of api/fairlead/v1/discovery.proto. Unlike resources they come from any gRPC client too, so their
// fields are accepted in any order and unknown ones are ignored, as protobuf demands.

// Node is how a client describes itself.
type Node struct {
	// ID is "pod.namespace"; Version the version of the proxy. Both are for people to read.
	ID, Version string
	// Patches means that the client takes changes of shards, see Answer.Patch.
	Patches bool
	// Companion means that the client is no proxy: it runs beside one of another kind, or beside an app, and only wants to know
	// whom to trust.
	Companion bool
}

func (n *Node) append(b []byte) []byte {
	b = appendText(appendText(b, 1, n.ID), 2, n.Version)
	if n.Patches {
		b = appendNumber(b, 3, 1)
	}
	if n.Companion {
		b = appendNumber(b, 4, 1)
	}
	return b
}

// Request is message DeltaRequest.
type Request struct {
	Node                   *Node
	Subscribe, Unsubscribe []string
	InitialVersions        map[string]string
	InitialNames           map[string]string
	Ack                    uint64
	Nacks                  []Nack
	// Partial are resources that the client obeys without a part that it does not know; Reason says which.
	Partial []Rejection
	// More means that the next request continues this one, the first of a stream.
	More bool
	// Health is what the client has found out about its own workload, in place of what it said before; nil says nothing.
	Health *HealthReport
}

// Nack says which resources of a response were refused.
type Nack struct {
	Nonce  uint64
	Errors []Rejection
}

// Rejection is one refused resource. Name is canonical, Reason one line.
type Rejection struct{ Name, Reason string }

// Response is message DeltaResponse.
type Response struct {
	Nonce     uint64
	Resources []Answer
	Removed   []string
	Synced    bool
}

// Answer is message Resource: what became of one name.
type Answer struct {
	Name    string
	Aliases []string
	// Version and Body are empty where the resource does not exist; Body alone is empty where the client has it, or has Base.
	Version string
	Body    []byte
	// Refused says why the server does not follow the name, empty where it does.
	Refused string
	// Patch, a message ShardPatch, stands in place of Body where the client has the version Base, and makes Version of it.
	Base  string
	Patch []byte
}

// MaxNames bounds the names that one client is subscribed to at a time, all its streams together. The control plane
// holds 1 to 5 KB for each; a client should ask for no more.
const MaxNames = 8192

const (
	// maxName bounds the names that clients may ask for, in bytes: a DNS name is 253 at most.
	maxName = 512
	// maxNames bounds the names of one kind in one message.
	maxNames = 1 << 16
	// maxNote bounds what clients say about themselves and about refused resources, in bytes.
	maxNote = 4096
)

var (
	errTooMany  = fmt.Errorf("more than %d names in one message", maxNames)
	errNameSize = fmt.Errorf("a name must have 1 to %d bytes", maxName)
)

func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendTexts(b []byte, n protowire.Number, list []string) []byte {
	for _, s := range list {
		b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	return b
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendTable(b []byte, n protowire.Number, table map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		b = appendBytes(b, n, appendText(appendText(nil, 1, key), 2, table[key]))
	}
	return b
}

// note takes a text written by a client or for people, cut to a length that cannot be abused.
func note(v []byte) string {
	if len(v) > maxNote {
		v = v[:maxNote]
	}
	if !utf8.Valid(v) {
		return string([]rune(string(v))) // invalid bytes become U+FFFD
	}
	return string(v)
}

// validName reports whether clients may ask for a name.
func validName[T string | []byte](n T) bool {
	return len(n) > 0 && len(n) <= maxName && utf8.ValidString(string(n))
}

// addName appends a resource name, checked.
func addName(list []string, v []byte) ([]string, error) {
	switch {
	case !validName(v):
		return nil, errNameSize
	case len(list) >= maxNames:
		return nil, errTooMany
	}
	return append(list, string(v)), nil
}

// addEntry adds an entry of a map<string, string> whose key is a resource name.
func addEntry(table map[string]string, v []byte) (map[string]string, error) {
	var key, value string
	err := protofield.Each(v, func(n int, v []byte, _ uint64) error {
		switch n {
		case 1:
			key = string(v)
		case 2:
			value = string(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case key == "" || len(key) > maxName || len(value) > maxName:
		return nil, errNameSize
	case len(table) >= maxNames:
		return nil, errTooMany
	}
	if table == nil {
		table = make(map[string]string)
	}
	table[key] = value
	return table, nil
}

// acknowledges reports whether the request does nothing but acknowledge.
func (r *Request) acknowledges() bool {
	return r.Node == nil && r.Health == nil && !r.More &&
		len(r.Subscribe)+len(r.Unsubscribe)+len(r.Nacks)+len(r.Partial)+len(r.InitialVersions)+len(r.InitialNames) == 0
}

// append adds the bytes of r to b.
func (r *Request) append(b []byte) []byte {
	if r.Node != nil {
		b = appendBytes(b, 1, r.Node.append(nil))
	}
	b = appendTexts(b, 2, r.Subscribe)
	b = appendTexts(b, 3, r.Unsubscribe)
	b = appendTable(b, 4, r.InitialVersions)
	b = appendTable(b, 5, r.InitialNames)
	b = appendNumber(b, 6, r.Ack)
	for _, nack := range r.Nacks {
		n := appendNumber(nil, 1, nack.Nonce)
		for _, e := range nack.Errors {
			n = appendBytes(n, 2, appendText(appendText(nil, 1, e.Name), 2, e.Reason))
		}
		b = appendBytes(b, 7, n)
	}
	if r.More {
		b = appendNumber(b, 8, 1)
	}
	for _, e := range r.Partial {
		b = appendBytes(b, 9, appendText(appendText(nil, 1, e.Name), 2, e.Reason))
	}
	if r.Health != nil {
		b = appendBytes(b, 10, r.Health.append(nil))
	}
	return b
}

func parseRequest(b []byte) (*Request, error) {
	r := &Request{}
	err := protofield.Each(b, func(n int, v []byte, number uint64) (err error) {
		switch n {
		case 1:
			r.Node, err = parseNode(v)
		case 2:
			r.Subscribe, err = addName(r.Subscribe, v)
		case 3:
			r.Unsubscribe, err = addName(r.Unsubscribe, v)
		case 4:
			r.InitialVersions, err = addEntry(r.InitialVersions, v)
		case 5:
			r.InitialNames, err = addEntry(r.InitialNames, v)
		case 6:
			r.Ack = number
		case 7:
			err = r.addNack(v)
		case 8:
			r.More = number != 0
		case 9:
			r.Partial, err = addRejection(r.Partial, v)
		case 10:
			r.Health, err = parseHealthReport(v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DeltaRequest: %w", err)
	}
	return r, nil
}

func parseNode(b []byte) (*Node, error) {
	node := &Node{}
	return node, protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			node.ID = note(v)
		case 2:
			node.Version = note(v)
		case 3:
			node.Patches = number != 0
		case 4:
			node.Companion = number != 0
		}
		return nil
	})
}

// addRejection appends a message ResourceError.
func addRejection(list []Rejection, b []byte) ([]Rejection, error) {
	if len(list) >= maxNames {
		return nil, errTooMany
	}
	var e Rejection
	err := protofield.Each(b, func(n int, v []byte, _ uint64) error {
		switch n {
		case 1:
			e.Name = note(v)
		case 2:
			e.Reason = note(v)
		}
		return nil
	})
	return append(list, e), err
}

func (r *Request) addNack(b []byte) error {
	var nack Nack
	err := protofield.Each(b, func(n int, v []byte, number uint64) (err error) {
		switch n {
		case 1:
			nack.Nonce = number
		case 2:
			nack.Errors, err = addRejection(nack.Errors, v)
		}
		return err
	})
	if len(r.Nacks) >= maxNames {
		return errTooMany
	}
	r.Nacks = append(r.Nacks, nack)
	return err
}

// append adds the bytes of r to b.
func (r *Response) append(b []byte) []byte {
	b = appendNumber(b, 1, r.Nonce)
	for i := range r.Resources {
		a := &r.Resources[i]
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.BytesType), uint64(a.size()))
		b = appendTexts(appendText(b, 1, a.Name), 2, a.Aliases)
		b = appendText(b, 3, a.Version)
		b = appendText(b, 5, a.Refused)
		if len(a.Patch) > 0 {
			b = appendBytes(appendText(b, 6, a.Base), 7, a.Patch)
		}
		if len(a.Body) > 0 {
			b = appendBytes(b, 4, a.Body)
		}
	}
	b = appendTexts(b, 3, r.Removed)
	if r.Synced {
		b = appendNumber(b, 4, 1)
	}
	return b
}

// size is how many bytes append adds for an answer, without its tag and length.
func (a *Answer) size() (n int) {
	field := func(size int) int { return protowire.SizeTag(1) + protowire.SizeBytes(size) } // the tags of all fields are as long
	for _, text := range []string{a.Name, a.Version, a.Refused} {
		if text != "" {
			n += field(len(text))
		}
	}
	for _, alias := range a.Aliases {
		n += field(len(alias))
	}
	if len(a.Patch) > 0 {
		n += field(len(a.Patch))
		if a.Base != "" {
			n += field(len(a.Base))
		}
	}
	if len(a.Body) > 0 {
		n += field(len(a.Body))
	}
	return n
}

// parseResponse reads a response. Bodies and patches alias b.
func parseResponse(b []byte) (*Response, error) {
	r := &Response{}
	err := protofield.Each(b, func(n int, v []byte, number uint64) (err error) {
		switch n {
		case 1:
			r.Nonce = number
		case 2:
			var a Answer
			a, err = parseAnswer(v)
			r.Resources = append(r.Resources, a)
		case 3:
			r.Removed, err = addName(r.Removed, v)
		case 4:
			r.Synced = number != 0
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DeltaResponse: %w", err)
	}
	return r, nil
}

func parseAnswer(b []byte) (a Answer, err error) {
	err = protofield.Each(b, func(n int, v []byte, _ uint64) (err error) {
		switch n {
		case 1:
			a.Name = string(v)
		case 2:
			a.Aliases, err = addName(a.Aliases, v)
		case 3:
			a.Version = string(v)
		case 4:
			a.Body = v
		case 5:
			a.Refused = note(v)
		case 6:
			a.Base = string(v)
		case 7:
			a.Patch = v
		}
		return err
	})
	if err == nil && (a.Name == "" || (a.Version == "" && len(a.Body)+len(a.Patch) > 0) || (len(a.Patch) > 0 && a.Base == "")) {
		err = protofield.ErrMalformed
	}
	return a, err
}

// appendBlobs and parseBlobs carry SignRequest and SignResponse: messages of byte strings numbered from 1.
func appendBlobs(blobs ...[]byte) []byte {
	var b []byte
	for i, blob := range blobs {
		if len(blob) > 0 {
			b = appendBytes(b, protowire.Number(i+1), blob)
		}
	}
	return b
}

func parseBlobs(b []byte, into ...*[]byte) error {
	return protofield.Each(b, func(n int, v []byte, _ uint64) error {
		if n <= len(into) {
			*into[n-1] = v
		}
		return nil
	})
}
