package spiffebundle

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// PublishedRefresh is how often those who follow a published bundle are asked to look: a root that is handed out some minutes
	// before anything is signed below it has reached them by then.
	PublishedRefresh = time.Minute

	// askPause is how long what was asked last is given out, so that those who come do not cost whoever keeps the roots.
	askPause = 10 * time.Second
	// askTime bounds one question, for which all wait who come meanwhile.
	askTime = 5 * time.Second
)

// Version is what a trust domain has for roots, and the number of that.
type Version struct {
	Roots []*x509.Certificate
	// Sequence is larger than that of each version before (SPIFFE Trust Domain and Bundle §4.1.1).
	Sequence uint64
}

// PublisherOptions configure a Publisher. All are required.
type PublisherOptions struct {
	// Ask gives the newest version. It is called by one goroutine at a time.
	Ask func(ctx context.Context) (Version, error)
	// Tell is told when a fault begins, and, by nil, when there is none any more.
	Tell func(fault error)
}

// Publisher is a bundle endpoint (SPIFFE Trust Domain and Bundle §5), for GET and HEAD at any path, as SPIRE's. While nobody can be asked, or
// what is answered is no later version, it gives out what it had last; before the first answer it has 503.
type Publisher struct {
	o PublisherOptions

	mu    sync.Mutex // guards what follows; is held while somebody is asked
	text  []byte     // nil before the first answer
	last  Version
	asked time.Time
	fault string
}

// NewPublisher gives a Publisher that has asked nothing yet.
func NewPublisher(o PublisherOptions) *Publisher { return &Publisher{o: o} }

// ServeHTTP implements http.Handler.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a SPIFFE bundle is got by GET", http.StatusMethodNotAllowed)
		return
	}
	// Who hangs up must not end a question that others wait for.
	text := p.document(context.WithoutCancel(r.Context()))
	if text == nil {
		w.Header().Set("Retry-After", strconv.Itoa(int(askPause/time.Second)))
		http.Error(w, "the roots of this trust domain are not known yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache") // something between must not keep a root that was withdrawn
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text)
}

// document gives what is published; nil where nothing is yet.
func (p *Publisher) document(ctx context.Context) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.asked.IsZero() && now.Sub(p.asked) < askPause {
		return p.text
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	v, err := p.o.Ask(ctx)
	if err == nil {
		err = p.take(v)
	}
	p.asked = time.Now()
	p.tell(err)
	return p.text
}

// take puts a version in force. One that those who have the former could not tell from it, or would take for an older one, is refused.
func (p *Publisher) take(v Version) error {
	same := sameRoots(v.Roots, p.last.Roots)
	switch {
	case len(v.Roots) == 0: // which would say that all is revoked
		return errors.New("no roots")
	case len(v.Roots) > MaxRoots:
		return fmt.Errorf("%d roots, more than %d", len(v.Roots), MaxRoots)
	case p.text != nil && v.Sequence < p.last.Sequence:
		return fmt.Errorf("version %d, after %d: whoever keeps the roots was set back", v.Sequence, p.last.Sequence)
	case p.text != nil && v.Sequence == p.last.Sequence && !same:
		return fmt.Errorf("other roots of the same version %d", v.Sequence)
	}
	text, err := encode(v, PublishedRefresh)
	if err != nil {
		return err
	}
	p.text, p.last = text, v
	return nil
}

func sameRoots(a, b []*x509.Certificate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Raw, b[i].Raw) {
			return false
		}
	}
	return true
}

// tell says when a fault begins, becomes another one, and ends.
func (p *Publisher) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != p.fault {
		p.o.Tell(err)
	}
	p.fault = text
}
