package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Raw is an object as it came.
type Raw struct {
	// Text is the object, without an envelope. It may share memory with the whole answer.
	Text []byte
	// Protobuf is set for what is not JSON.
	Protobuf bool
}

// message is what the generated types of Kubernetes are, of which there is a form in protobuf.
type message interface{ Unmarshal([]byte) error }

// Into decodes the object. What was in the value and is not in the object stays.
func (r Raw) Into(v any) error {
	if !r.Protobuf {
		return json.Unmarshal(r.Text, v)
	}
	m, ok := v.(message)
	if !ok {
		return fmt.Errorf("a %T cannot be read from protobuf", v)
	}
	return m.Unmarshal(r.Text)
}

func isProtobuf(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), Protobuf) }

// magic is what every object in protobuf begins with; an Unknown follows, which holds the object.
func magic() []byte { return []byte("k8s\x00") }

// opened gives an object without the envelope in which it comes in protobuf.
func (r Raw) opened() (Raw, error) {
	if !r.Protobuf {
		return r, nil
	}
	inner, ok := bytes.CutPrefix(r.Text, magic())
	if !ok {
		return Raw{}, errors.New("an answer in protobuf does not begin as one of Kubernetes")
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(inner); err != nil {
		return Raw{}, err
	}
	if unknown.ContentEncoding != "" {
		return Raw{}, fmt.Errorf("an object in the encoding %q", unknown.ContentEncoding)
	}
	return Raw{Text: unknown.Raw, Protobuf: true}, nil
}

// page is a part of a list.
type page struct {
	about metav1.ListMeta
	items []Raw
}

// page reads the answer as a part of a list, of objects of any type.
func (r Raw) page() (page, error) {
	var p page
	if r.Protobuf {
		err := p.read(r.Text)
		return p, err
	}
	var list struct {
		Metadata metav1.ListMeta   `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(r.Text, &list); err != nil {
		return p, err
	}
	p.about, p.items = list.Metadata, make([]Raw, len(list.Items))
	for i, text := range list.Items {
		p.items[i] = Raw{Text: text}
	}
	return p, nil
}

// The fields of every list of Kubernetes.
const (
	listMetadata protowire.Number = 1
	listItems    protowire.Number = 2
)

// read fills in a list in protobuf.
func (p *page) read(text []byte) error {
	for len(text) > 0 {
		number, kind, n := protowire.ConsumeTag(text)
		if n < 0 {
			return protowire.ParseError(n)
		}
		text = text[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, text); n < 0 {
				return protowire.ParseError(n)
			}
			text = text[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(text)
		if n < 0 {
			return protowire.ParseError(n)
		}
		text = text[n:]
		switch number { //nolint:exhaustive // a list has two fields
		case listItems:
			p.items = append(p.items, Raw{Text: value, Protobuf: true})
		case listMetadata:
			if err := p.about.Unmarshal(value); err != nil {
				return err
			}
		}
	}
	return nil
}
