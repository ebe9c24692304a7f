package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ErrNotFound means that a host has no addresses: the name does not exist (NXDOMAIN), or has records of other types
// only.
var ErrNotFound = errors.New("the name has no addresses")

// Resolved are the addresses of a host, in the order of the answer, IPv4 first.
type Resolved struct {
	Addrs []netip.Addr
	// TTL is how long they are good for, the shortest of all records.
	TTL time.Duration
}

// Resolver finds the addresses of hosts by asking the upstream servers.
type Resolver struct{ upstream *Upstream }

// NewResolver asks u.
func NewResolver(u *Upstream) *Resolver { return &Resolver{upstream: u} }

// Resolve asks for A and AAAA at once. host is a fully qualified name; search domains are not applied. Where one of
// the two questions fails, the addresses of the other are given.
func (r *Resolver) Resolve(ctx context.Context, host string) (Resolved, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(host, ".") + ".")
	if err != nil {
		return Resolved{}, fmt.Errorf("resolve %q: %w", host, err)
	}
	var wg sync.WaitGroup
	var v4, v6 Resolved
	var err4, err6 error
	wg.Go(func() { v4, err4 = r.query(ctx, name, dnsmessage.TypeA) })
	wg.Go(func() { v6, err6 = r.query(ctx, name, dnsmessage.TypeAAAA) })
	wg.Wait()
	switch {
	case err4 != nil && err6 != nil:
		// Both failures are the same more often than not.
		return Resolved{}, fmt.Errorf("resolve %q: %w", host, err4)
	case err4 != nil && len(v6.Addrs) == 0:
		return Resolved{}, fmt.Errorf("resolve %q: %w", host, err4)
	case err6 != nil && len(v4.Addrs) == 0:
		return Resolved{}, fmt.Errorf("resolve %q: %w", host, err6)
	case len(v4.Addrs)+len(v6.Addrs) == 0:
		return Resolved{}, fmt.Errorf("resolve %q: %w", host, ErrNotFound)
	}
	both := Resolved{Addrs: slices.Concat(v4.Addrs, v6.Addrs), TTL: v4.TTL}
	if len(v4.Addrs) == 0 || (len(v6.Addrs) > 0 && v6.TTL < v4.TTL) {
		both.TTL = v6.TTL
	}
	return both, nil
}

// query asks for one type, over TCP where the answer does not fit UDP. No addresses is no error.
func (r *Resolver) query(ctx context.Context, name dnsmessage.Name, kind dnsmessage.Type) (Resolved, error) {
	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Resolved{}, err
	}
	query, err := newQuery(binary.BigEndian.Uint16(id[:]), name, kind)
	if err != nil {
		return Resolved{}, err
	}
	answer, err := r.upstream.Exchange(ctx, "udp", query)
	if err == nil && truncated(answer) {
		answer, err = r.upstream.Exchange(ctx, "tcp", query)
	}
	if err != nil {
		return Resolved{}, err
	}
	switch code := rcode(answer); code { //nolint:exhaustive // the other codes all mean failure
	case dnsmessage.RCodeSuccess:
		return addresses(answer)
	case dnsmessage.RCodeNameError:
		return Resolved{}, ErrNotFound
	default:
		return Resolved{}, fmt.Errorf("the server answered %s", strings.TrimPrefix(code.String(), "RCode"))
	}
}

func newQuery(id uint16, name dnsmessage.Name, kind dnsmessage.Type) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// addresses collects the A and AAAA records of an answer. A recursive server puts the records at the end of a chain of
// aliases into the same answer, so the chain itself need not be followed.
func addresses(message []byte) (Resolved, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(message); err != nil {
		return Resolved{}, fmt.Errorf("malformed answer: %w", err)
	}
	if err := p.SkipAllQuestions(); err != nil {
		return Resolved{}, fmt.Errorf("malformed answer: %w", err)
	}
	var out Resolved
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out, nil
		}
		if err != nil {
			return Resolved{}, fmt.Errorf("malformed answer: %w", err)
		}
		addr, err := addressRecord(&p, h)
		if err != nil {
			return Resolved{}, fmt.Errorf("malformed answer: %w", err)
		}
		if ttl := time.Duration(h.TTL) * time.Second; addr.IsValid() {
			if len(out.Addrs) == 0 || ttl < out.TTL {
				out.TTL = ttl
			}
			out.Addrs = append(out.Addrs, addr)
		}
	}
}

// addressRecord reads the record behind h; the zero value stands for one that is no address.
func addressRecord(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) (netip.Addr, error) {
	switch h.Type { //nolint:exhaustive // the other types are skipped
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return netip.AddrFrom4(r.A), err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return netip.AddrFrom16(r.AAAA), err
	default:
		return netip.Addr{}, p.SkipAnswer()
	}
}
