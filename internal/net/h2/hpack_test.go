package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestHuffmanAgreesWithXNet(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := rng.IntN(40)
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(rng.IntN(256))
		}
		all = append(all[:256], in...)
		code := hpack.AppendHuffmanString(nil, string(all))
		got, ok := appendHuffmanDecoded(nil, code)
		if !ok || !bytes.Equal(got, all) {
			t.Fatalf("decode(encode(%q)) = %q, %v", all, got, ok)
		}
	}
}

func TestHuffmanRejects(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"padding_of_eight_bits", append(hpack.AppendHuffmanString(nil, "o"), 0xff)},
		{"padding_with_zeros", []byte{0x00 | 0x38}}, // 'o' is 00111, then 000
		{"end_of_string_code", []byte{0xff, 0xff, 0xff, 0xff}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := appendHuffmanDecoded(nil, tt.in); ok {
				t.Errorf("decode(%x) = %q, want an error", tt.in, got)
			}
		})
	}
}

// randomFields gives fields as connections see them: names and some values repeat, some values never.
func randomFields(rng *rand.Rand) [][2]string {
	var out [][2]string
	for range rng.IntN(12) {
		name := []string{
			"content-type", "x-request-id", "user-agent", "authorization", "cookie", "x-a", "x-b", "cache-control", "via",
		}[rng.IntN(9)]
		value := fmt.Sprint("v", rng.IntN(20))
		switch rng.IntN(10) {
		case 0:
			value = strconv.FormatUint(rng.Uint64(), 10)
		case 1:
			value = strings.Repeat("long", rng.IntN(400))
		case 2:
			value = ""
		}
		out = append(out, [2]string{name, value})
	}
	return out
}

func TestEncoderAgreesWithXNet(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	enc := newEncoder()
	var got [][2]string
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { got = append(got, [2]string{f.Name, f.Value}) })
	sizes := []uint32{4096, 100, 0, 4096, 2000}
	for i := range 3000 {
		if i%500 == 499 {
			enc.setMax(sizes[rng.IntN(len(sizes))])
			enc.setMax(sizes[rng.IntN(len(sizes))])
		}
		want := randomFields(rng)
		b := enc.begin(nil)
		for _, f := range want {
			b = enc.field(b, []byte(strings.ToUpper(f[0])), []byte(f[1]))
		}
		got = nil
		if _, err := dec.Write(b); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if err := dec.Close(); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("block %d (-want +got):\n%s", i, d)
		}
	}
}

func TestDecoderAgreesWithXNet(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	dec := newDecoder()
	for i := range 3000 {
		if i%500 == 499 {
			enc.SetMaxDynamicTableSize(uint32(rng.IntN(4097)))
		}
		want := randomFields(rng)
		buf.Reset()
		for _, f := range want {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: rng.IntN(10) == 0})
		}
		var fields httpx.Fields
		head := headReader{limit: 1 << 20}
		head.reset(sectionTrailers, &fields)
		if err := dec.decode(buf.Bytes(), &head); err != nil || head.bad != "" {
			t.Fatalf("block %d: %v %s", i, err, head.bad)
		}
		var got [][2]string
		for j := range fields.Len() {
			n, v := fields.At(j)
			got = append(got, [2]string{string(n), string(v)})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("block %d (-want +got):\n%s", i, d)
		}
		if dec.table.size > dec.table.max || len(dec.table.buf) > 4*defaultTableSize {
			t.Fatalf("table holds %d of %d in %d bytes", dec.table.size, dec.table.max, len(dec.table.buf))
		}
	}
}

func TestRepeatedFieldsShrinkToOneByte(t *testing.T) {
	enc := newEncoder()
	var sizes []int
	for range 4 {
		sizes = append(sizes, len(enc.field(enc.begin(nil), []byte("x-tenant"), []byte("blue"))))
	}
	if d := cmp.Diff([]int{15, 15, 1, 1}, sizes); d != "" {
		t.Errorf("sizes (-want +got):\n%s", d)
	}
}

func TestDecodeHead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields string // "name=value" separated by |
		want   string // rule broken
		head   string // method scheme authority path upgrade length
	}{
		{"minimal", ":method=GET|:scheme=http|:path=/|:authority=a", "", "GET http a / - -1"},
		{"host_stands_in_for_authority", ":method=GET|:scheme=http|:path=/|host=a", "", "GET http a / - -1"},
		{"host_equal_to_authority", ":method=GET|:scheme=http|:path=/|:authority=a|host=A", "", "GET http a / - -1"},
		{"host_unlike_authority", ":method=GET|:scheme=http|:path=/|:authority=a|host=b", "host that differs from :authority", ""},
		{"options_asterisk", ":method=OPTIONS|:scheme=http|:path=*|:authority=a", "", "OPTIONS http a * - -1"},
		{"get_asterisk", ":method=GET|:scheme=http|:path=*|:authority=a", "invalid :path", ""},
		{"connect", ":method=CONNECT|:authority=a:1", "", "CONNECT  a:1  - -1"},
		{"connect_with_path", ":method=CONNECT|:authority=a:1|:path=/", "CONNECT with invalid pseudo-header fields", ""},
		{"extended_connect", ":method=CONNECT|:protocol=websocket|:scheme=http|:path=/c|:authority=a", "", "GET http a /c websocket -1"},
		{"extended_connect_without_path", ":method=CONNECT|:protocol=websocket|:scheme=http|:authority=a", "extended CONNECT with invalid pseudo-header fields", ""},
		{"protocol_on_get", ":method=GET|:protocol=x|:scheme=http|:path=/|:authority=a", "pseudo-header fields missing or too many", ""},
		{"no_path", ":method=GET|:scheme=http|:authority=a", "pseudo-header fields missing or too many", ""},
		{"empty_path", ":method=GET|:scheme=http|:path=|:authority=a", "invalid :path", ""},
		{"space_in_path", ":method=GET|:scheme=http|:path=/a b|:authority=a", "invalid :path", ""},
		{"space_in_authority", ":method=GET|:scheme=http|:path=/|:authority=a b", "invalid :authority", ""},
		{"user_in_authority", ":method=GET|:scheme=http|:path=/|:authority=me@a", "invalid :authority", ""},
		{"space_in_method", ":method=GE T|:scheme=http|:path=/|:authority=a", "invalid :method", ""},
		{"repeated_path", ":method=GET|:scheme=http|:path=/|:path=/|:authority=a", `repeated pseudo-header field ":path"`, ""},
		{"unknown_pseudo", ":method=GET|:nope=1|:scheme=http|:path=/", `unexpected pseudo-header field ":nope"`, ""},
		{"status_in_request", ":status=200", `unexpected pseudo-header field ":status"`, ""},
		{"pseudo_after_regular", ":method=GET|a=b|:scheme=http|:path=/", "pseudo-header field after a regular one", ""},
		{"capital", ":method=GET|:scheme=http|:path=/|Ab=c", `invalid field "Ab"`, ""},
		{"line_feed_in_value", ":method=GET|:scheme=http|:path=/|a=b\nc", `invalid field "a"`, ""},
		{"space_before_value", ":method=GET|:scheme=http|:path=/|a= b", `invalid field "a"`, ""},
		{"connection", ":method=GET|:scheme=http|:path=/|connection=close", `connection-specific field "connection"`, ""},
		{"te", ":method=GET|:scheme=http|:path=/|te=gzip", "te other than trailers", ""},
		{"length", ":method=PUT|:scheme=http|:path=/|:authority=a|content-length=12", "", "PUT http a / - 12"},
		{"length_twice", ":method=PUT|:scheme=http|:path=/|:authority=a|content-length=12|content-length=12", "", "PUT http a / - 12"},
		{"lengths_differ", ":method=PUT|:scheme=http|:path=/|content-length=12|content-length=13", "invalid content-length", ""},
		{"length_signed", ":method=PUT|:scheme=http|:path=/|content-length=+1", "invalid content-length", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			enc := hpack.NewEncoder(&buf)
			for f := range strings.SplitSeq(tt.fields, "|") {
				n, v, _ := strings.Cut(f, "=")
				enc.WriteField(hpack.HeaderField{Name: n, Value: v})
			}
			var r httpx.Request
			dec, head := newDecoder(), headReader{limit: 1 << 16}
			for range 2 { // the second time through the tables
				r.Reset()
				head.reset(sectionRequest, &r.Fields)
				if err := dec.decode(buf.Bytes(), &head); err != nil {
					t.Fatal(err)
				}
				rule := head.request(&r)
				if rule != tt.want {
					t.Fatalf("rule = %q, want %q", rule, tt.want)
				}
				if rule != "" {
					continue
				}
				up := "-"
				if r.Upgrade != nil {
					up = string(r.Upgrade)
				}
				got := fmt.Sprintf("%s %s %s %s %s %d", r.Method, r.Scheme, r.Authority, r.Path, up, r.ContentLength)
				if got != tt.head {
					t.Fatalf("head = %q, want %q", got, tt.head)
				}
				if r.Fields.Get("host") != nil || r.Fields.Get("content-length") != nil {
					t.Fatal("host or content-length among the fields")
				}
			}
		})
	}
}

func TestCookiesAreJoined(t *testing.T) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	for _, f := range []string{":method GET", ":scheme http", ":path /", "cookie a=1", "x y", "cookie b=2", "cookie c=3"} {
		n, v, _ := strings.Cut(f, " ")
		enc.WriteField(hpack.HeaderField{Name: n, Value: v})
	}
	var r httpx.Request
	dec, head := newDecoder(), headReader{limit: 1 << 16}
	head.reset(sectionRequest, &r.Fields)
	if err := dec.decode(buf.Bytes(), &head); err != nil || head.request(&r) != "" {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"cookie: a=1; b=2; c=3", "x: y"}, list(&r.Fields)); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
}

func FuzzDecode(f *testing.F) {
	enc := newEncoder()
	f.Add(enc.request(nil, typical()))
	f.Add([]byte{0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff})
	f.Add([]byte{0x20, 0x3f, 0xe1, 0x1f, 0x40, 0x01, 'a', 0x01, 'b', 0xbe})
	f.Fuzz(func(t *testing.T, block []byte) {
		dec, head := newDecoder(), headReader{limit: 1 << 16}
		var r httpx.Request
		head.reset(sectionRequest, &r.Fields)
		err := dec.decode(block, &head)
		if dec.table.size > dec.table.max {
			t.Fatalf("table holds %d of %d", dec.table.size, dec.table.max)
		}
		oracle := hpack.NewDecoder(defaultTableSize, nil)
		if fields, oracleErr := oracle.DecodeFull(block); err == nil && oracleErr != nil {
			t.Fatalf("accepted what x/net refuses: %v after %v", oracleErr, fields)
		}
	})
}
