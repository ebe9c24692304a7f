package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// DefaultTimeout bounds a question to the upstream servers, over all of them. Resolvers give up or ask again after
	// 5 s (resolv.conf(5), RES_TIMEOUT), so no resolver waits for an answer that comes later.
	DefaultTimeout = 5 * time.Second
	// firstWait is how long the first server asked may take before the next one is asked; it doubles each time.
	firstWait = time.Second
	// maxMessage is the longest DNS message (RFC 1035 §4.2.2).
	maxMessage = 1<<16 - 1
	headerSize = 12
)

// ErrNoAnswer means that no upstream server answered in time.
var ErrNoAnswer = errors.New("no DNS server answered")

// UpstreamOptions configure an Upstream.
type UpstreamOptions struct {
	// Servers are asked in this order. Required.
	Servers []netip.AddrPort
	// Dial opens a connection whose packets are not redirected back to us; network is "udp" or "tcp". Required.
	Dial func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	// Timeout bounds one question. 0 means DefaultTimeout.
	Timeout time.Duration
}

// Upstream asks the servers that the pod would ask without us.
type Upstream struct{ o UpstreamOptions }

// NewUpstream checks the options.
func NewUpstream(o UpstreamOptions) (*Upstream, error) {
	if len(o.Servers) == 0 {
		return nil, errors.New("dns: UpstreamOptions.Servers is empty")
	}
	if o.Dial == nil {
		return nil, errors.New("dns: UpstreamOptions.Dial is not set")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("dns: UpstreamOptions.Timeout %s is negative", o.Timeout)
	}
	o.Servers = slices.Clone(o.Servers)
	return &Upstream{o}, nil
}

// Exchange asks the servers one after the other, from the beginning again while time is left, and gives the first
// answer as it came. network is "udp" or "tcp"; an answer over UDP may be truncated. A server that says it cannot
// answer (SERVFAIL, REFUSED) is believed only when no other says better. Each attempt has a socket of its own, so an
// answer must match port, ID and question to be taken.
func (u *Upstream) Exchange(ctx context.Context, network string, query []byte) ([]byte, error) {
	if len(query) < headerSize {
		return nil, fmt.Errorf("dns query of %d bytes is shorter than a header", len(query))
	}
	ctx, cancel := context.WithTimeout(ctx, u.o.Timeout)
	defer cancel()
	var refusal []byte
	var lastErr error
	for attempt := 0; ctx.Err() == nil; attempt++ {
		server := u.o.Servers[attempt%len(u.o.Servers)]
		answer, err := u.ask(ctx, network, server, query, firstWait<<min(attempt, 8))
		switch {
		case err == nil && !refused(answer):
			return answer, nil
		case err == nil:
			refusal = answer
		default:
			lastErr = fmt.Errorf("server %s: %w", server, err)
		}
		// Asking again helps against a lost packet. Where every server has refused or could not be reached, it is
		// no use before the time is up.
		if attempt+1 >= len(u.o.Servers) && !errors.Is(lastErr, context.DeadlineExceeded) {
			break
		}
	}
	if refusal != nil {
		return refusal, nil
	}
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return nil, err
	}
	if lastErr == nil {
		lastErr = context.Cause(ctx) // the caller's deadline was over before the first attempt
	}
	return nil, fmt.Errorf("%w within %s: %w", ErrNoAnswer, u.o.Timeout, lastErr)
}

func (u *Upstream) ask(ctx context.Context, network string, server netip.AddrPort, query []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := u.o.Dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	// Deadlines are the context's; cancelling it interrupts a read as well.
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	answer, err := converse(c, network, query)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	return answer, err
}

func converse(c net.Conn, network string, query []byte) ([]byte, error) {
	if network == "tcp" {
		if err := writeTCP(c, query); err != nil {
			return nil, err
		}
		answer, err := readTCP(c)
		if err == nil && !answers(answer, query) {
			err = errors.New("the answer is to another question")
		}
		return answer, err
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDP)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], query) { // else a forgery or an answer that came late: wait on
			return buf[:n], nil
		}
	}
}

// answers reports whether a is a response with the ID and the question of q. Case counts: it may be a nonce (0x20).
func answers(a, q []byte) bool {
	if len(a) < headerSize || a[0] != q[0] || a[1] != q[1] || a[2]&0x80 == 0 {
		return false
	}
	end, ok := questionEnd(q)
	if !ok || binary.BigEndian.Uint16(a[4:]) == 0 {
		// A server that could not read the question repeats none (FORMERR, NOTIMP, sometimes REFUSED).
		return rcode(a) != dnsmessage.RCodeSuccess
	}
	return len(a) >= end && bytes.Equal(a[headerSize:end], q[headerSize:end])
}

// questionEnd gives where the first question of an uncompressed query ends.
func questionEnd(q []byte) (int, bool) {
	const typeAndClass = 4
	for i := headerSize; i < len(q); i += 1 + int(q[i]) {
		if q[i] == 0 {
			end := i + 1 + typeAndClass
			return end, end <= len(q)
		}
		if q[i] > 63 {
			return 0, false
		}
	}
	return 0, false
}

func rcode(message []byte) dnsmessage.RCode { return dnsmessage.RCode(message[3] & 0xf) }

func refused(message []byte) bool {
	return rcode(message) == dnsmessage.RCodeServerFailure || rcode(message) == dnsmessage.RCodeRefused
}

func truncated(message []byte) bool { return len(message) > 2 && message[2]&0x02 != 0 }

// writeTCP sends a message behind its length (RFC 1035 §4.2.2), in one packet.
func writeTCP(w io.Writer, message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("dns message of %d bytes is longer than %d", len(message), maxMessage)
	}
	b := make([]byte, 0, 2+len(message))
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}

func readTCP(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, fmt.Errorf("dns message cut off: %w", err)
	}
	if len(message) < headerSize {
		return nil, fmt.Errorf("dns message of %d bytes is shorter than a header", len(message))
	}
	return message, nil
}
