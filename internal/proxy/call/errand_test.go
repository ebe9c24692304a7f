package call

import (
	"errors"
	"io"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// hungUp is a collector that has answered before it had the whole request, and takes no more of it.
type hungUp struct {
	httpx.ClientExchange
	answer strings.Reader
	lost   error // in place of an answer
}

var errHungUp = errors.New("reset by the collector")

func (*hungUp) Send(*httpx.Request) error    { return nil }
func (*hungUp) Write(p []byte) (int, error)  { return len(p), nil }
func (*hungUp) End(*httpx.Fields) error      { return errHungUp }
func (*hungUp) Trailers() *httpx.Fields      { return nil }
func (h *hungUp) Read(p []byte) (int, error) { return h.answer.Read(p) }
func (h *hungUp) Receive(r *httpx.Response) error {
	r.Status = 429
	return h.lost
}

func TestErrandTakesAnEarlyAnswer(t *testing.T) {
	e := Errand{Body: []byte("spans"), Most: 100}
	up := &hungUp{}
	up.answer.Reset("slow down")
	if err := e.exchange(up); err != nil || e.Status != 429 || string(e.Answer) != "slow down" {
		t.Errorf("exchange = %v, status %d, answer %q; want 429 and what was said with it", err, e.Status, e.Answer)
	}
	e = Errand{Most: 100}
	if err := e.exchange(&hungUp{lost: io.ErrUnexpectedEOF}); !errors.Is(err, errHungUp) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("exchange = %v, want both causes", err)
	}
}
