package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Token is what a token says.
type Token struct {
	// Issued is when the session began, to the second.
	Issued time.Time
	// Backend and Pod are hashes of names: they tell the backends of a route apart, and pods that had an address one after
	// the other. Pod is 0 where the endpoint is none.
	Backend, Pod uint64
	Addr         netip.AddrPort
}

// The parts of a token before it is made text: what is in the clear, and what is sealed.
const (
	version    = 1
	headerSize = 1 + keyIDSize + nonceSize
	keyIDSize  = 2
	nonceSize  = 12
	fixedSize  = 8 + 8 + 8 + 2 // times, hashes and port; the address follows
	tagSize    = 16
	maxSize    = headerSize + fixedSize + 16 + tagSize
)

// MaxLength is that of the longest token, in bytes.
const MaxLength = (maxSize*8 + 5) / 6

// key is one of Keys.
type key struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// Keys seal and open tokens.
type Keys struct{ list []key }

// maxKeys bounds how many a control plane may send.
const maxKeys = 16

// NewKeys reads keys as plan.Seal has them. There must be one at least.
func NewKeys(list []string) (*Keys, error) {
	if len(list) == 0 || len(list) > maxKeys {
		return nil, fmt.Errorf("%d keys, want 1 to %d", len(list), maxKeys)
	}
	k := &Keys{}
	for i, text := range list {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("key %d is none of AES-256", i) // and is not printed
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, errors.New("AES-256 is not to be had")
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("fairlead key id "), raw...))
		k.list = append(k.list, key{[keyIDSize]byte(sum[:]), aead})
	}
	return k, nil
}

// Append appends a token for a scope.
func (k *Keys) Append(dst []byte, scope string, t Token) []byte {
	var buf [maxSize]byte
	seals := &k.list[0]
	head := append(append(buf[:0], version), seals.id[:]...)
	nonce := buf[len(head):headerSize]
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	var plain [fixedSize + 16]byte
	p := binary.BigEndian.AppendUint64(plain[:0], uint64(t.Issued.Unix()))
	p = binary.BigEndian.AppendUint64(p, t.Backend)
	p = binary.BigEndian.AppendUint64(p, t.Pod)
	p = binary.BigEndian.AppendUint16(p, t.Addr.Port())
	p = append(p, t.Addr.Addr().Unmap().AsSlice()...)
	return base64.RawURLEncoding.AppendEncode(dst, seals.aead.Seal(buf[:headerSize], nonce, p, bound(scope)))
}

// Open reads a token for a scope. newest says whether it was sealed by the key that seals now.
func (k *Keys) Open(text []byte, scope string) (t Token, newest, ok bool) {
	if len(text) > MaxLength {
		return Token{}, false, false
	}
	var buf [maxSize]byte
	n, err := base64.RawURLEncoding.Strict().Decode(buf[:], text)
	if err != nil || n < headerSize+fixedSize+4+tagSize || buf[0] != version {
		return Token{}, false, false
	}
	for i := range k.list {
		of := &k.list[i]
		if [keyIDSize]byte(buf[1:]) != of.id {
			continue
		}
		p, err := of.aead.Open(buf[headerSize:headerSize], buf[1+keyIDSize:headerSize], buf[headerSize:n], bound(scope))
		if err != nil {
			continue
		}
		if t, ok = read(p); ok {
			return t, i == 0, true
		}
	}
	return Token{}, false, false
}

// bound is what a token is bound to beside its key.
func bound(scope string) []byte { return append([]byte{version}, scope...) }

func read(p []byte) (t Token, ok bool) {
	addr, ok := netip.AddrFromSlice(p[fixedSize:])
	if !ok {
		return Token{}, false
	}
	return Token{
		Issued:  time.Unix(int64(binary.BigEndian.Uint64(p)), 0),
		Backend: binary.BigEndian.Uint64(p[8:]), Pod: binary.BigEndian.Uint64(p[16:]),
		Addr: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(p[24:])),
	}, true
}

// Holder hands the keys of the moment on.
type Holder struct{ keys atomic.Pointer[Keys] }

// Keys gives them, nil where there are none yet. A nil Holder has none.
func (h *Holder) Keys() *Keys {
	if h == nil {
		return nil
	}
	return h.keys.Load()
}

// Set puts others in force, nil for none.
func (h *Holder) Set(k *Keys) { h.keys.Store(k) }
