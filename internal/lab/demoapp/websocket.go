package demoapp

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 demands it; nothing is secured by it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// webSocketGUID is the constant of RFC 6455, section 1.3.
const webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Opcodes of RFC 6455, section 5.2.
const (
	opClose = 8
	opPing  = 9
	opPong  = 10
)

const maxFrame = 1 << 20

// frame is one WebSocket frame.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// acceptKey answers a client's Sec-WebSocket-Key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + webSocketGUID)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// webSocket upgrades and sends every frame back.
func (s *server) webSocket(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		http.Error(w, "this path speaks WebSocket", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"+
		"X-Demo-Pod: %s\r\n\r\n", acceptKey(key), s.id.Pod)
	if rw.Flush() != nil {
		return
	}
	_ = echoFrames(rw)
}

// echoFrames ends with the peer's close frame, which it answers.
func echoFrames(rw *bufio.ReadWriter) error {
	for {
		f, err := readFrame(rw.Reader)
		if err != nil {
			return err
		}
		if f.opcode == opPing {
			f.opcode = opPong
		}
		if err := errors.Join(writeFrame(rw.Writer, f), rw.Flush()); err != nil {
			return err
		}
		if f.opcode == opClose {
			return nil
		}
	}
}

// readFrame reads one frame, masked or not.
func readFrame(r io.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	size := uint64(head[1] & 0x7f)
	extra := map[uint64]int{126: 2, 127: 8}[size]
	if extra > 0 {
		var raw [8]byte
		if _, err := io.ReadFull(r, raw[8-extra:]); err != nil {
			return frame{}, err
		}
		size = binary.BigEndian.Uint64(raw[:])
	}
	if size > maxFrame {
		return frame{}, fmt.Errorf("frame of %d bytes", size)
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return frame{}, err
		}
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 15, payload: make([]byte, size)}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i&3]
	}
	return f, nil
}

// writeFrame writes a frame as a server does: unmasked.
func writeFrame(w io.Writer, f frame) error {
	head := []byte{f.opcode, 0}
	if f.final {
		head[0] |= 0x80
	}
	switch n := len(f.payload); {
	case n < 126:
		head[1] = byte(n)
	case n < 1<<16:
		head[1] = 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] = 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	_, err := w.Write(append(head, f.payload...))
	return err
}
