package netio

import (
	"encoding/binary"
	"errors"
)

// The parts of TLS that a ClientHello is made of (RFC 8446 §4, §4.1.2, §5.1).
const (
	recordHandshake      = 22
	recordHeader         = 5
	maxRecord            = 1<<14 + 256 // RFC 5246 §6.2.3 allows more than RFC 8446, old stacks use it
	handshakeClientHello = 1
	handshakeHeader      = 4
	extensionServerName  = 0
	extensionALPN        = 16 // RFC 7301 §3.1
)

// maxHello bounds a ClientHello in bytes. Post-quantum key shares and encrypted hellos take 2 to 4 KB.
const maxHello = 16 << 10

// ErrShortHello means that the bytes so far are the beginning of a ClientHello.
var ErrShortHello = errors.New("the ClientHello is not complete")

// ErrBadHello means that the bytes are not a ClientHello and will not become one.
var ErrBadHello = errors.New("malformed ClientHello")

// ClientHello is what routing needs of one. It points into the bytes that were parsed.
type ClientHello struct {
	// ServerName is the SNI host name as sent, nil where there is none.
	ServerName []byte
	// protocols is the list of ALPN names, each behind its length in a byte; nil where there is none.
	protocols []byte
}

// OffersAny reports whether the client offers an application protocol (RFC 7301) that is one of those meant.
func (h ClientHello) OffersAny(meant func(protocol []byte) bool) bool {
	list := reader{rest: h.protocols, ok: true}
	for list.ok && len(list.rest) > 0 {
		if protocol := list.take(list.uint8()); list.ok && meant(protocol) {
			return true
		}
	}
	return false
}

// ParseClientHello reads the ClientHello at the start of a TLS connection. It gives ErrShortHello while bytes are
// missing. It allocates only where the message is spread over several records.
func ParseClientHello(prefix []byte) (ClientHello, error) {
	body, err := helloBody(prefix)
	if err != nil {
		return ClientHello{}, err
	}
	h, ok := parseHello(body)
	if !ok {
		return ClientHello{}, ErrBadHello
	}
	return h, nil
}

// helloBody gives the ClientHello message without its header, put together from the records.
func helloBody(prefix []byte) ([]byte, error) {
	message, rest, err := nextRecord(prefix)
	if err != nil {
		return nil, err
	}
	if message[0] != handshakeClientHello {
		return nil, ErrBadHello
	}
	joined := false
	for {
		if len(message) >= handshakeHeader {
			size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			if size > maxHello {
				return nil, ErrBadHello
			}
			if len(message) >= handshakeHeader+size {
				return message[handshakeHeader : handshakeHeader+size], nil
			}
		}
		var more []byte
		if more, rest, err = nextRecord(rest); err != nil {
			return nil, err
		}
		if !joined {
			// The first record lies in the caller's buffer, in front of the second one's header.
			message, joined = append(make([]byte, 0, len(prefix)), message...), true
		}
		message = append(message, more...)
	}
}

// nextRecord gives the payload of the handshake record at the start of p: never empty, and cut off where p is.
func nextRecord(p []byte) (payload, rest []byte, err error) {
	if len(p) > 0 && p[0] != recordHandshake || len(p) > 1 && p[1] != 3 {
		return nil, nil, ErrBadHello
	}
	if len(p) < recordHeader {
		return nil, nil, ErrShortHello
	}
	n := int(binary.BigEndian.Uint16(p[3:]))
	if n == 0 || n > maxRecord {
		return nil, nil, ErrBadHello
	}
	p = p[recordHeader:]
	if len(p) == 0 {
		return nil, nil, ErrShortHello
	}
	n = min(n, len(p))
	return p[:n], p[n:], nil
}

// parseHello walks over a ClientHello (RFC 8446 §4.1.2).
func parseHello(b []byte) (h ClientHello, ok bool) {
	const versionAndRandom = 2 + 32
	if len(b) < versionAndRandom {
		return h, false
	}
	r := reader{rest: b[versionAndRandom:], ok: true}
	r.skip8()    // legacy_session_id
	r.vector16() // cipher_suites
	r.skip8()    // legacy_compression_methods
	if !r.ok {
		return h, false
	}
	if len(r.rest) == 0 { // no extensions: allowed before TLS 1.3
		return h, true
	}
	extensions := reader{rest: r.vector16(), ok: r.ok}
	for extensions.ok && len(extensions.rest) > 0 {
		kind := extensions.uint16()
		data := reader{rest: extensions.vector16(), ok: extensions.ok}
		switch kind {
		case extensionServerName:
			h.ServerName = data.serverName()
		case extensionALPN:
			h.protocols = data.vector16()
		}
		extensions.ok = extensions.ok && data.ok
	}
	return h, extensions.ok
}

// reader takes length-prefixed vectors off a slice; after the first that does not fit, ok is false and all is empty.
type reader struct {
	rest []byte
	ok   bool
}

func (r *reader) take(n int) []byte {
	if !r.ok || n > len(r.rest) {
		r.ok, r.rest = false, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint8() int {
	if b := r.take(1); r.ok {
		return int(b[0])
	}
	return 0
}

func (r *reader) uint16() int {
	if b := r.take(2); r.ok {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) skip8()           { r.take(r.uint8()) }
func (r *reader) vector16() []byte { return r.take(r.uint16()) }

// serverName gives the first host_name of the list (RFC 6066 §3).
func (r *reader) serverName() []byte {
	const hostName = 0
	list := reader{rest: r.vector16(), ok: r.ok}
	for list.ok && len(list.rest) > 0 {
		kind, name := list.uint8(), list.vector16()
		if list.ok && kind == hostName {
			return name
		}
	}
	r.ok = r.ok && list.ok
	return nil
}
