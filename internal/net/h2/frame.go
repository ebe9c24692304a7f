package h2

import "encoding/binary"

// frameType is the kind of a frame, RFC 9113 §6.
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameReset        frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
	// frameMetadata is ours: opaque bytes about the sender, once, on stream 0. Peers that do not know it ignore it
	// (RFC 9113 §5.5).
	frameMetadata frameType = 0xfa
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// settingID names a setting, RFC 9113 §6.5.2 and RFC 8441 §3.
type settingID uint16

const (
	settingTableSize       settingID = 0x1
	settingEnablePush      settingID = 0x2
	settingMaxStreams      settingID = 0x3
	settingInitialWindow   settingID = 0x4
	settingMaxFrame        settingID = 0x5
	settingMaxHeaderList   settingID = 0x6
	settingExtendedConnect settingID = 0x8
)

const (
	preface        = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113 §3.4
	frameHeaderLen = 9
	minMaxFrame    = 1 << 14
	maxMaxFrame    = 1<<24 - 1
	defaultWindow  = 1<<16 - 1
	maxWindow      = 1<<31 - 1
	maxStreamID    = 1<<31 - 1
)

// frameHeader is the nine bytes before every frame, RFC 9113 §4.1.
type frameHeader struct {
	length int
	typ    frameType
	flags  uint8
	id     uint32
}

func (h frameHeader) has(flag uint8) bool { return h.flags&flag != 0 }

// parseFrameHeader reads b, which holds at least nine bytes.
func parseFrameHeader(b []byte) frameHeader {
	_ = b[8]
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:    frameType(b[3]),
		flags:  b[4],
		id:     binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

func appendFrameHeader(dst []byte, h frameHeader) []byte {
	n, id := h.length, h.id
	return append(dst, byte(n>>16), byte(n>>8), byte(n), byte(h.typ), h.flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// putFrameLength corrects the length of a frame header already written.
func putFrameLength(b []byte, n int) {
	b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n)
}

func appendReset(dst []byte, id uint32, code Code) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 4, typ: frameReset, id: id})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, id, n uint32) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 4, typ: frameWindowUpdate, id: id})
	return binary.BigEndian.AppendUint32(dst, n)
}

func appendPing(dst []byte, flags uint8, payload [8]byte) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 8, typ: framePing, flags: flags})
	return append(dst, payload[:]...)
}

func appendGoAway(dst []byte, last uint32, code Code, debug string) []byte {
	dst = appendFrameHeader(dst, frameHeader{length: 8 + len(debug), typ: frameGoAway})
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, debug...)
}

func appendSetting(dst []byte, id settingID, value uint32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(id))
	return binary.BigEndian.AppendUint32(dst, value)
}
