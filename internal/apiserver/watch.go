package apiserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// maxEvent bounds one event of a watch in bytes. An object has at most a few megabytes.
const maxEvent = 64 << 20

// Event is one event of a watch, other than an error.
type Event struct {
	Type   watch.EventType
	Object Raw
}

// Watch is a stream of events.
type Watch struct {
	body io.ReadCloser
	next func() (Event, error)
}

// Watch begins a watch, which ends with ctx or by Close.
func (c *Client) Watch(ctx context.Context, r Request) (*Watch, error) {
	resp, err := c.open(ctx, r) //nolint:bodyclose // Watch.Close does
	if err != nil {
		return nil, err
	}
	w := &Watch{body: resp.Body}
	if isProtobuf(resp.Header) {
		w.next = w.frame
	} else {
		decoder := json.NewDecoder(resp.Body)
		w.next = func() (Event, error) { return eventOf(decoder) }
	}
	return w, nil
}

// Close ends the watch.
func (w *Watch) Close() { w.body.Close() }

// Next waits for an event. The error is io.EOF where the server ended the watch in order, and what the server said where it
// sent an error.
func (w *Watch) Next() (Event, error) {
	e, err := w.next()
	if err != nil || e.Type != watch.Error {
		return e, err
	}
	var status metav1.Status
	if err := e.Object.Into(&status); err != nil {
		return Event{}, fmt.Errorf("an error that cannot be read: %w", err)
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	return Event{}, &apierrors.StatusError{ErrStatus: status}
}

func eventOf(d *json.Decoder) (Event, error) {
	var e struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := d.Decode(&e); err != nil {
		return Event{}, err
	}
	return Event{Type: e.Type, Object: Raw{Text: e.Object}}, nil
}

// frame reads an event in protobuf: its length in four bytes, big end first, and a WatchEvent without an envelope, which holds
// the object in one.
func (w *Watch) frame() (Event, error) {
	var size [4]byte
	if _, err := io.ReadFull(w.body, size[:]); err != nil {
		return Event{}, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxEvent {
		return Event{}, fmt.Errorf("an event of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(w.body, text); err != nil {
		return Event{}, fmt.Errorf("in the midst of an event: %w", err)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(text); err != nil {
		return Event{}, err
	}
	object, err := Raw{Text: e.Object.Raw, Protobuf: true}.opened()
	return Event{Type: watch.EventType(e.Type), Object: object}, err
}
