package session

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func keyOf(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func keysOf(t testing.TB, bs ...byte) *Keys {
	t.Helper()
	list := make([]string, len(bs))
	for i, b := range bs {
		list[i] = keyOf(b)
	}
	k, err := NewKeys(list)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const scope = "HTTPRoute shop/carts first"

func TestTokens(t *testing.T) {
	for _, addr := range []string{"10.244.0.7:8080", "[fd00:10:244::7]:65535"} {
		want := Token{Issued: time.Unix(1_800_000_000, 0), Backend: 7, Pod: 1 << 63, Addr: netip.MustParseAddrPort(addr)}
		k := keysOf(t, 1, 2)
		text := k.Append([]byte("x="), scope, want)[2:]
		if len(text) > MaxLength || len(k.Append(nil, scope, want)) != len(text) {
			t.Errorf("%d bytes, at most %d", len(text), MaxLength)
		}
		if got, newest, ok := k.Open(text, scope); !ok || !newest || got != want {
			t.Errorf("Open = %+v, %v, %v", got, newest, ok)
		}
		if got, newest, ok := keysOf(t, 3, 1).Open(text, scope); !ok || newest || got != want {
			t.Errorf("Open with a newer key = %+v, %v, %v", got, newest, ok)
		}
		if bytes.Equal(text, k.Append(nil, scope, want)) {
			t.Error("two tokens are alike: it shows that they lead to one endpoint")
		}
		if _, _, ok := keysOf(t, 3).Open(text, scope); ok {
			t.Error("opened with another key")
		}
		if _, _, ok := k.Open(text, scope+"x"); ok {
			t.Error("opened for another route")
		}
		for i := range text {
			forged := bytes.Clone(text)
			for _, c := range []byte("AB_ =") {
				forged[i] = c
				if got, _, ok := k.Open(forged, scope); ok && c != text[i] {
					t.Fatalf("with %q at %d it says %+v", c, i, got)
				}
			}
			if _, _, ok := k.Open(text[:i], scope); ok {
				t.Fatalf("opened without its last %d bytes", len(text)-i)
			}
		}
		if raw, _ := base64.RawURLEncoding.DecodeString(string(text)); bytes.Contains(raw, want.Addr.Addr().AsSlice()) {
			t.Error("the address can be read")
		}
	}
}

func TestNewKeys(t *testing.T) {
	for _, list := range [][]string{nil, make([]string, maxKeys+1), {"short"}, {keyOf(1), "%"}, {strings.Repeat("A", 88)}} {
		if _, err := NewKeys(list); err == nil {
			t.Errorf("NewKeys(%q) takes it", list)
		} else if len(list) > 0 && list[0] != "" && strings.Contains(err.Error(), list[0]) {
			t.Errorf("the error has a key: %v", err)
		}
	}
}

func TestHolder(t *testing.T) {
	var none *Holder
	var h Holder
	if none.Keys() != nil || h.Keys() != nil {
		t.Error("keys out of nothing")
	}
	k := keysOf(t, 1)
	h.Set(k)
	if h.Keys() != k {
		t.Error("other keys")
	}
}

// FuzzOpen: what a client sends is never more than a token, and never breaks anything.
func FuzzOpen(f *testing.F) {
	k := keysOf(f, 1, 2)
	good := k.Append(nil, scope, Token{Issued: time.Unix(1, 0), Addr: netip.MustParseAddrPort("10.0.0.1:80")})
	f.Add(good)
	f.Add([]byte(""))
	f.Add([]byte("AQAA"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, _, ok := k.Open(text, scope); ok && !bytes.Equal(text, good) {
			t.Errorf("%q says %+v", text, got)
		}
	})
}
