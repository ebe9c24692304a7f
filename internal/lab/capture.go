package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is one TCP connection as seen on the wire between a pod and the node.
type Flow struct {
	// Direction is inbound or outbound, as the pod sees it; unknown where the capture missed the start.
	Direction string         `json:"direction"`
	Pod       netip.AddrPort `json:"pod"`
	Peer      netip.AddrPort `json:"peer"`
	// Packets and payload bytes, from and to the pod.
	PacketsOut int `json:"packetsOut"`
	PacketsIn  int `json:"packetsIn"`
	BytesOut   int `json:"bytesOut"`
	BytesIn    int `json:"bytesIn"`
	// FirstOut and FirstIn say what the first payload in each direction looks like: "TLS handshake",
	// "TLS application data", "plaintext HTTP", "other", or empty where there was none.
	FirstOut string `json:"firstOut"`
	FirstIn  string `json:"firstIn"`
	// Matches counts the segments whose payload contains the text that was looked for.
	Matches int `json:"matches"`
}

// The kinds of payload.
const (
	tlsHandshake   = "TLS handshake"
	tlsApplication = "TLS application data"
	plaintextHTTP  = "plaintext HTTP"
	otherPayload   = "other"
)

// classify tells what a TCP payload looks like.
func classify(payload []byte) string {
	if len(payload) >= 3 && payload[1] == 3 && payload[2] <= 4 { // TLS record header (RFC 8446, section 5.1)
		switch payload[0] {
		case 22:
			return tlsHandshake
		case 20, 21, 23:
			return tlsApplication
		}
	}
	for _, start := range []string{
		"GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "PATCH ", "OPTIONS ", "CONNECT ", "TRACE ", "HTTP/1.", "PRI * HTTP/2",
	} {
		if bytes.HasPrefix(payload, []byte(start)) {
			return plaintextHTTP
		}
	}
	return otherPayload
}

// maxCapture bounds a capture that is not ended.
const maxCapture = time.Hour

// segment is the part of a packet that flows are made of.
type segment struct {
	src, dst netip.AddrPort
	syn, ack bool
	payload  []byte
}

// parseSegment reads an Ethernet frame; ok is false for everything but TCP.
func parseSegment(frame []byte) (s segment, ok bool) {
	if len(frame) < 14 {
		return s, false
	}
	var src, dst netip.Addr
	packet := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case unix.ETH_P_IP:
		if len(packet) < 20 || packet[9] != unix.IPPROTO_TCP {
			return s, false
		}
		header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:4]))
		if total < header || total > len(packet) {
			total = len(packet)
		}
		if header < 20 || header > total {
			return s, false
		}
		src, dst = netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
		packet = packet[header:total]
	case unix.ETH_P_IPV6:
		if len(packet) < 40 || packet[6] != unix.IPPROTO_TCP {
			return s, false
		}
		src, dst = netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
		packet = packet[40:]
	default:
		return s, false
	}
	if len(packet) < 20 || int(packet[12]>>4)*4 > len(packet) {
		return s, false
	}
	s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(packet[0:2]))
	s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(packet[2:4]))
	s.syn, s.ack = packet[13]&2 != 0, packet[13]&16 != 0
	s.payload = packet[int(packet[12]>>4)*4:]
	return s, true
}

// flows adds segments up.
type flows struct {
	pod  map[netip.Addr]bool
	grep []byte
	seen map[[2]netip.AddrPort]*Flow
}

// add counts one segment.
func (f *flows) add(s segment) {
	fromPod := f.pod[s.src.Addr()]
	key := [2]netip.AddrPort{s.dst, s.src}
	if fromPod {
		key = [2]netip.AddrPort{s.src, s.dst}
	}
	flow := f.seen[key]
	if flow == nil {
		flow = &Flow{Direction: "unknown", Pod: key[0], Peer: key[1]}
		f.seen[key] = flow
	}
	if s.syn && flow.Direction == "unknown" {
		flow.Direction = "inbound"
		if fromPod != s.ack {
			flow.Direction = "outbound"
		}
	}
	packets, size, first := &flow.PacketsIn, &flow.BytesIn, &flow.FirstIn
	if fromPod {
		packets, size, first = &flow.PacketsOut, &flow.BytesOut, &flow.FirstOut
	}
	*packets++
	*size += len(s.payload)
	if *first == "" && len(s.payload) > 0 {
		*first = classify(s.payload)
	}
	if len(f.grep) > 0 && bytes.Contains(s.payload, f.grep) {
		flow.Matches++
	}
}

// list gives the flows, those with the most bytes first.
func (f *flows) list() []Flow {
	out := make([]Flow, 0, len(f.seen))
	for _, flow := range f.seen {
		out = append(out, *flow)
	}
	slices.SortFunc(out, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(b.BytesIn+b.BytesOut, a.BytesIn+a.BytesOut), a.Pod.Compare(b.Pod), a.Peer.Compare(b.Peer))
	})
	return out
}

// capture listens on the node's end of the pod's interface.
func (sv *supervisor) capture(ctx context.Context, conn *net.UnixConn, req request) (response, *os.File, error) {
	p, err := sv.findPod(ctx, req)
	if err != nil {
		return response{}, nil, err
	}
	link, err := netlink.LinkByName(p.vethName())
	if err != nil {
		return response{}, nil, fmt.Errorf("capture: pod %s has no interface: %w", p.spec.key, err)
	}
	f := &flows{pod: map[netip.Addr]bool{}, grep: []byte(req.Grep), seen: map[[2]netip.AddrPort]*Flow{}}
	for _, a := range p.spec.addrs.list() {
		f.pod[a] = true
	}
	fd, err := packetSocket(link.Attrs().Index)
	if err != nil {
		return response{}, nil, fmt.Errorf("capture: %w", err)
	}
	defer closeFD(fd)
	if err := sendLine(conn, response{Started: true}); err != nil {
		return response{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = conn.Read(make([]byte, 1)) // the client has nothing more to say: this is its end, or its sign to stop
	}()
	err = receiveFrames(ctx, fd, time.Now().Add(maxCapture), func(frame []byte) {
		if s, ok := parseSegment(frame); ok {
			f.add(s)
		}
	})
	return response{Flows: f.list(), Pod: p.spec.key.Name}, nil, err
}

// packetSocket opens a raw socket that sees the packets of one interface.
func packetSocket(ifindex int) (int, error) {
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20) // as much as the machine allows
	// Wake up now and then to see whether the time is over.
	wait := unix.NsecToTimeval((20 * time.Millisecond).Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}),
	)
	if err != nil {
		closeFD(fd)
		return -1, err
	}
	return fd, nil
}

// closeFD closes a descriptor that nothing is written to: there is nothing to learn from an error.
func closeFD(fd int) { _ = unix.Close(fd) }

// receiveFrames calls frame for every packet until the deadline.
func receiveFrames(ctx context.Context, fd int, deadline time.Time, frame func([]byte)) error {
	buf := make([]byte, 128<<10)
	for time.Now().Before(deadline) {
		ended := ctx.Err() != nil
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case ended && errors.Is(err, unix.EAGAIN): // what had arrived before the end has been read
			return nil
		case err == nil:
			frame(buf[:n])
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("capture: %w", err)
		}
	}
	return nil
}
