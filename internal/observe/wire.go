package observe

import (
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/protofield"
)

// The messages of api/fairlead/v1/observe.proto. Unknown fields are passed over, so that either side may be the newer one.

// ask is message Ask: what the control plane wants of a sidecar from now on.
type ask struct {
	tap   *order // begins a tap, or changes the one of its number
	untap uint64 // ends the tap of this number
}

// order is message Order: which requests a tap is about.
type order struct {
	id     uint64
	filter Filter
	// perSecond bounds the events.
	perSecond uint32
	// headers asks for the fields of the heads, secrets for the values that are left out else.
	headers, secrets bool
	// begins asks to hear of requests that take long before they end.
	begins bool
}

// said is message Said: what a sidecar says.
type said struct {
	summary []byte
	tapped  []tapped
}

// tapped is message Tapped: the events of one tap, and how many there were of late that are not among them.
type tapped struct {
	id     uint64
	events []byte   // when it is sent: fields 2, one after the other
	each   [][]byte // when it was received
	missed Missed
}

// Missed counts requests that met the filter of a tap and are not shown.
type Missed struct {
	// Overrun found no room on the way, because the network or a reader was slow.
	Overrun uint64 `json:"overrun,omitempty"`
	// Beyond came faster than --max-rps.
	Beyond uint64 `json:"beyond,omitempty"`
}

func (m *Missed) add(o Missed) {
	m.Overrun += o.Overrun
	m.Beyond += o.Beyond
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendFlag(b []byte, n protowire.Number, v bool) []byte {
	return appendNumber(b, n, protowire.EncodeBool(v))
}

func appendText[T ~string | ~[]byte](b []byte, n protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// appendPart appends a message field that put writes. Its length is known only then, and stands in front of it in as many
// bytes as it takes for the longest part, 2 MB.
func appendPart(b []byte, n protowire.Number, put func([]byte) []byte) []byte {
	b = append(protowire.AppendTag(b, n, protowire.BytesType), 0, 0, 0)
	at := len(b)
	b = put(b)
	size := len(b) - at
	b[at-3], b[at-2], b[at-1] = byte(size)|0x80, byte(size>>7)|0x80, byte(size>>14)&0x7f
	return b
}

func appendAddr(b []byte, n protowire.Number, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	var text [64]byte
	return appendText(b, n, a.AppendTo(text[:0]))
}

func (a *ask) append(b []byte) []byte {
	if a.tap != nil {
		b = appendPart(b, 1, a.tap.append)
	}
	return appendNumber(b, 2, a.untap)
}

func parseAsk(b []byte) (a ask, err error) {
	err = protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			a.tap = &order{}
			return a.tap.parse(v)
		case 2:
			a.untap = number
		}
		return nil
	})
	return a, err
}

func (o *order) append(b []byte) []byte {
	b = appendNumber(b, 1, o.id)
	b = appendPart(b, 2, o.filter.append)
	b = appendNumber(b, 3, uint64(o.perSecond))
	b = appendFlag(b, 4, o.headers)
	b = appendFlag(b, 5, o.secrets)
	return appendFlag(b, 6, o.begins)
}

func (o *order) parse(b []byte) error {
	return protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			o.id = number
		case 2:
			return o.filter.parse(v)
		case 3:
			o.perSecond = uint32(min(number, math.MaxUint32))
		case 4:
			o.headers = number != 0
		case 5:
			o.secrets = number != 0
		case 6:
			o.begins = number != 0
		}
		return nil
	})
}

func (s *said) append(b []byte) []byte {
	b = appendText(b, 1, s.summary)
	for i := range s.tapped {
		b = appendPart(b, 2, s.tapped[i].append)
	}
	return b
}

func parseSaid(b []byte) (s said, err error) {
	err = protofield.Each(b, func(n int, v []byte, _ uint64) error {
		switch n {
		case 1:
			s.summary = v
		case 2:
			var t tapped
			if err := t.parse(v); err != nil {
				return err
			}
			s.tapped = append(s.tapped, t)
		}
		return nil
	})
	return s, err
}

func (t *tapped) append(b []byte) []byte {
	b = appendNumber(b, 1, t.id)
	b = append(b, t.events...)
	b = appendNumber(b, 3, t.missed.Overrun)
	return appendNumber(b, 4, t.missed.Beyond)
}

func (t *tapped) parse(b []byte) error {
	return protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			t.id = number
		case 2:
			t.each = append(t.each, v)
		case 3:
			t.missed.Overrun = number
		case 4:
			t.missed.Beyond = number
		}
		return nil
	})
}

// parseEvent reads what appendEvent wrote, in another process.
func parseEvent(b []byte) (e Event, err error) {
	e.HeadAfter = -1
	e.Direction = Outbound
	err = protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			e.ID = number
		case 2:
			e.Direction = Inbound
		case 3:
			e.Start = time.Unix(0, int64(number))
		case 4:
			e.Duration = time.Duration(number)
		case 5:
			e.HeadAfter = time.Duration(number) - 1
		case 6:
			return e.Source.Addr.UnmarshalText(v)
		case 7:
			return e.Destination.Addr.UnmarshalText(v)
		case 8:
			e.TLS = number != 0
		case 17:
			e.Status = int(min(number, 999))
		case 21:
			e.Received = int64(number)
		case 22:
			e.Sent = int64(number)
		case 27:
			e.Begun = number != 0
		case 23, 24:
			f, err := parseHeader(v)
			if n == 23 {
				e.RequestHeaders = append(e.RequestHeaders, f)
			} else {
				e.ResponseHeaders = append(e.ResponseHeaders, f)
			}
			return err
		default:
			if text := e.text(n); text != nil {
				*text = string(v)
			}
		}
		return nil
	})
	return e, err
}

// text is the field of a number that is text; nil for none.
func (e *Event) text(n int) *string {
	switch n {
	case 9:
		return &e.NoTLS
	case 10:
		return &e.Method
	case 11:
		return &e.Scheme
	case 12:
		return &e.Authority
	case 13:
		return &e.Path
	case 14:
		return &e.Protocol
	case 15:
		return &e.Cluster
	case 16:
		return &e.Route
	case 18:
		return &e.GRPCStatus
	case 19:
		return &e.Flags
	case 20:
		return &e.Cause
	case 25:
		return &e.TraceID
	case 26:
		return &e.SpanID
	}
	return nil
}

func parseHeader(b []byte) (f HeaderField, err error) {
	err = protofield.Each(b, func(n int, v []byte, _ uint64) error {
		switch n {
		case 1:
			f.Name = string(v)
		case 2:
			f.Value = string(v)
		}
		return nil
	})
	return f, err
}
