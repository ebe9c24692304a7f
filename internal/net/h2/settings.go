package h2

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// settings are what the ends have told each other about themselves. What is not fixed is guarded by conn.mu.
type settings struct {
	c *conn // whose they are; fixed

	// Of the peer: what it allows us.
	known           bool // its SETTINGS arrived
	maxStreams      uint32
	initialWindow   int64
	maxFrame        int
	maxHeaderList   uint32
	extendedConnect bool
	meta            []byte    // of its metadata frame, nil before it came
	settled         sync.Cond // known has become true, or a stream has ended

	recvStart int64 // what it may send on a new stream: until it has acknowledged our SETTINGS, at least the default
}

func (st *settings) init(c *conn) {
	st.c, st.settled.L = c, &c.mu
	st.maxStreams, st.maxHeaderList = uint32(c.opts.MaxSendStreams), 1<<31
	st.initialWindow, st.maxFrame, st.recvStart = defaultWindow, minMaxFrame, startWindow
}

// onSettings takes the frame, or the answer to ours.
func (st *settings) onSettings(h frameHeader, p []byte) error {
	switch {
	case h.id != 0:
		return connError(CodeProtocol, "SETTINGS on a stream")
	case h.has(flagAck) && len(p) != 0:
		return connError(CodeFrameSize, "SETTINGS acknowledgement with a payload")
	case h.has(flagAck):
		st.acked()
		return st.c.costs.spend("SETTINGS acknowledgements")
	case len(p)%6 != 0:
		return connError(CodeFrameSize, "SETTINGS not a multiple of 6 bytes long")
	}
	st.c.in.greeted = true
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if err := st.apply(p); err != nil {
		return err
	}
	out := st.c.out.control()
	out.b = appendFrameHeader(out.b, frameHeader{typ: frameSettings, flags: flagAck})
	return st.c.costs.spend("SETTINGS frames")
}

// apply handles the parameters of a SETTINGS frame. mu is held.
func (st *settings) apply(p []byte) error {
	if len(p) > maxSettings*6 {
		return connError(CodeEnhanceYourCalm, "too many parameters in SETTINGS")
	}
	for ; len(p) > 0; p = p[6:] {
		id, v := settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])
		if err := st.set(id, v); err != nil {
			return err
		}
	}
	st.known = true
	st.settled.Broadcast()
	return nil
}

// set takes one parameter. mu is held.
func (st *settings) set(id settingID, v uint32) error {
	switch id {
	case settingTableSize:
		st.c.out.enc.setMax(v)
	case settingEnablePush:
		if v > 1 || v == 1 && st.c.server == nil {
			return connError(CodeProtocol, "invalid SETTINGS_ENABLE_PUSH")
		}
	case settingMaxStreams:
		st.maxStreams = min(v, uint32(st.c.opts.MaxSendStreams))
	case settingInitialWindow:
		if v > maxWindow {
			return connError(CodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1")
		}
		return st.shiftWindows(int64(v))
	case settingMaxFrame:
		if v < minMaxFrame || v > maxMaxFrame {
			return connError(CodeProtocol, "invalid SETTINGS_MAX_FRAME_SIZE")
		}
		st.maxFrame = int(v)
	case settingMaxHeaderList:
		st.maxHeaderList = v
	case settingExtendedConnect:
		if v > 1 {
			return connError(CodeProtocol, "invalid SETTINGS_ENABLE_CONNECT_PROTOCOL")
		}
		st.extendedConnect = v == 1
	}
	return nil
}

// shiftWindows applies a new initial window to the streams that exist, RFC 9113 §6.9.2.
func (st *settings) shiftWindows(v int64) error {
	delta := v - st.initialWindow
	st.initialWindow = v
	var err error
	st.c.streams.each(func(s *stream) {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			err = connError(CodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes a window overflow")
		}
		s.wakeWriter()
	})
	return err
}

// streamStart is the window that a stream begins with.
func (st *settings) streamStart() int64 { return min(int64(st.c.opts.StreamWindow), startWindow) }

// acked puts our own stream window into force, RFC 9113 §6.5.3.
func (st *settings) acked() {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	delta := st.streamStart() - st.recvStart
	st.recvStart += delta
	if delta != 0 {
		st.c.streams.each(func(s *stream) { s.recvWindow += delta })
	}
}

// onMetadata takes what the peer says of itself; the first frame counts.
func (st *settings) onMetadata(h frameHeader, p []byte) error {
	if h.id == 0 && len(p) <= minMaxFrame {
		st.c.mu.Lock()
		if st.meta == nil {
			st.meta = bytes.Clone(p)
		}
		st.c.mu.Unlock()
	}
	return st.c.costs.spend("metadata frames")
}

// peerMetadata is what the peer's metadata frame held, nil where none has come.
func (st *settings) peerMetadata() []byte {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.meta
}
