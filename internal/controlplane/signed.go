package controlplane

import (
	"crypto/x509"
	"encoding/pem"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
)

// maxSigned bounds the pods of which signed knows something.
const maxSigned = 100_000

// signed remembers the last certificate of each pod that this replica has signed. It is safe for concurrent use.
type signed struct {
	mu   sync.Mutex
	last map[model.Key]observe.Certificate
}

func newSigned() *signed { return &signed{last: map[model.Key]observe.Certificate{}} }

// note takes the chain of a pod; its first certificate is the pod's.
func (s *signed) note(pod model.Key, chainPEM []byte) {
	block, _ := pem.Decode(chainPEM)
	if block == nil {
		return
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || len(c.URIs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.last[pod]; !known && len(s.last) >= maxSigned {
		s.forget(time.Now())
	}
	if len(s.last) < maxSigned {
		s.last[pod] = observe.Certificate{ID: c.URIs[0].String(), From: c.NotBefore.UnixMilli(), To: c.NotAfter.UnixMilli()}
	}
}

// forget drops those that are over. mu is held.
func (s *signed) forget(now time.Time) {
	for pod, c := range s.last {
		if c.To < now.UnixMilli() {
			delete(s.last, pod)
		}
	}
}

// of gives that of a pod, nil where none is known.
func (s *signed) of(pod model.Key) *observe.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, known := s.last[pod]; known {
		return &c
	}
	return nil
}
