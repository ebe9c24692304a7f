package h1

import (
	"errors"
	"io"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// delimiter is what ends a body on the way in.
type delimiter uint8

const (
	bodyNone delimiter = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// chunkState is what a chunked body has next.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd // the CRLF behind the data
	chunkTrailers
	chunkDone
)

const (
	// directRead is the size from which a read goes to the caller's slice and not through the buffer.
	directRead = 4 << 10
	// maxChunkLine bounds a chunk's size and extensions. Nothing in use comes near.
	maxChunkLine = 4 << 10
	// maxChunkOverhead bounds the framing a body may have beyond 16 bytes and its own size per chunk: one byte
	// per chunk with a long extension each would make us work a thousandfold (net/http's CVE-2023-39326).
	maxChunkOverhead = 16 << 10
)

// body decodes what follows a head.
type body struct {
	in       *input
	lim      limits
	ends     delimiter
	state    chunkState
	left     int64 // of the body, or of the chunk
	overhead int64
	err      error
	// broken is set with err, for the goroutine that writes.
	broken atomic.Bool
	// whole is set once all of it is read, for the same goroutine.
	whole    atomic.Bool
	trailers httpx.Fields
	collect  collector
	// hurried says that the sender was told to go on, see input.acknowledge.
	hurried bool
}

func (b *body) begin(k delimiter, length int64) {
	b.ends, b.state, b.left, b.overhead, b.err, b.hurried = k, chunkSize, 0, 0, nil, false
	if k == bodyLength {
		b.left = length
	}
	b.broken.Store(false)
	b.whole.Store(k == bodyNone)
	b.trailers.Reset()
	b.collect = collector{}
}

// advance makes what progress it can without waiting and gives the number of buffered bytes that belong to the body:
// 0 and nil where more must be read first, io.EOF at the end.
func (b *body) advance() (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	switch b.ends {
	case bodyLength:
		if b.left > 0 {
			return int(min(b.left, int64(b.in.buffered()))), nil
		}
	case bodyChunked:
		n, err := b.advanceChunks()
		if err != nil {
			b.err = err
			b.broken.Store(true)
		}
		if n > 0 || err != nil || b.state != chunkDone {
			return n, err
		}
	case bodyUntilClose:
		return b.in.buffered(), nil
	case bodyNone:
	}
	if b.in.raw.Load() { // the message is over, the stream is not
		b.ends = bodyUntilClose
		return b.in.buffered(), nil
	}
	return 0, io.EOF
}

func (b *body) advanceChunks() (int, error) {
	for {
		var more bool
		var err error
		switch b.state {
		case chunkSize:
			more, err = b.readSize()
		case chunkData:
			return int(min(b.left, int64(b.in.buffered()))), nil
		case chunkEnd:
			more, err = b.readEnd()
		case chunkTrailers:
			more, err = b.readTrailers()
		case chunkDone:
			return 0, nil
		}
		if more || err != nil {
			return 0, err
		}
	}
}

// readSize reads a line like "1f;extension" and reports whether more must be read first.
func (b *body) readSize() (more bool, err error) {
	data := b.in.bytes()
	var size uint64
	i := 0
	for ; i < len(data); i++ {
		d, ok := hexDigit(data[i])
		if !ok {
			break
		}
		if i == 15 {
			return false, badf("chunk size of more than 15 digits: %q", clip(data))
		}
		size = size<<4 | d
	}
	if i == 0 && len(data) > 0 {
		return false, badf("chunk size %q is not a hexadecimal number", clip(data[:1]))
	}
	n, err := chunkLineEnd(data, i)
	if err != nil || n == 0 {
		return true, err
	}
	b.overhead += int64(n) - 16 - int64(size)
	if b.overhead = max(b.overhead, 0); b.overhead > maxChunkOverhead {
		return false, bad("more chunk framing than body")
	}
	b.in.consume(n)
	if size == 0 {
		b.state = chunkTrailers
	} else {
		b.state, b.left = chunkData, int64(size)
	}
	return false, nil
}

// chunkLineEnd gives the length of a size line whose digits end at i, 0 where it is not complete. Extensions are
// skipped; blanks may pad the digits, as old servers do, but not before an extension, where net/http takes the line
// for broken. A CR or LF alone inside one is what some decoders take for the line's end and others do not.
func chunkLineEnd(data []byte, i int) (int, error) {
	extension := false
	for at := i; at < len(data); at++ {
		switch c := data[at]; {
		case at > maxChunkLine:
			return 0, badf("chunk extensions longer than %d bytes", maxChunkLine)
		case c == '\r':
			if at+1 == len(data) {
				return 0, nil
			}
			if data[at+1] != '\n' {
				return 0, bad("a chunk size line has CR without LF")
			}
			return at + 2, nil
		case c == ';' && at == i:
			extension = true
		case c == '\n':
			return 0, bad("a chunk size line ends in LF without CR")
		case !extension && !isBlank(c), c < ' ' && c != '\t', c == 0x7f:
			return 0, badf("character %q in a chunk size line", c)
		}
	}
	return 0, nil
}

func (b *body) readEnd() (more bool, err error) {
	data := b.in.bytes()
	if len(data) > 0 && data[0] != '\r' || len(data) > 1 && data[1] != '\n' {
		return false, bad("a chunk is longer than its size says")
	}
	if len(data) < 2 {
		return true, nil
	}
	b.in.consume(2)
	b.state = chunkSize
	return false, nil
}

func (b *body) readTrailers() (more bool, err error) {
	if data := b.in.bytes(); b.collect == (collector{}) {
		if len(data) < 2 {
			return true, nil
		}
		if data[0] == '\r' && data[1] == '\n' {
			b.in.consume(2)
			b.state = chunkDone
			b.whole.Store(true)
			return false, nil
		}
	}
	done, err := b.collect.collect(b.in, &b.trailers, b.lim.head)
	if err != nil || !done {
		return true, err
	}
	b.state = chunkDone
	b.whole.Store(true)
	return false, parseTrailers(&b.trailers, b.lim.fields)
}

// Read is httpx.BodyReader's.
func (b *body) Read(p []byte) (int, error) {
	if err := b.in.aborted(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := b.advance()
		if err != nil {
			return 0, err
		}
		if n > 0 {
			n = copy(p, b.in.bytes()[:n])
			b.in.consume(n)
			b.used(n)
			return n, nil
		}
		if !b.hurried {
			b.hurried = true
			b.in.acknowledge()
		}
		if want := b.direct(len(p)); want > 0 {
			n, err := b.in.direct(p[:want])
			b.used(n)
			if err != nil {
				return 0, b.fail(err)
			}
			return n, nil
		}
		if err := b.in.fill(); err != nil {
			return 0, b.fail(err)
		}
	}
}

// direct says how many bytes of a read can bypass the (empty) buffer, 0 for none.
func (b *body) direct(n int) int {
	switch b.ends {
	case bodyLength:
		if int64(n) >= b.left || n >= directRead {
			return int(min(int64(n), b.left))
		}
	case bodyChunked:
		if b.state == chunkData && n >= directRead && b.left >= directRead {
			return int(min(int64(n), b.left))
		}
	case bodyUntilClose:
		if n >= directRead {
			return n
		}
	case bodyNone:
	}
	return 0
}

func (b *body) used(n int) {
	if b.ends == bodyUntilClose {
		return
	}
	b.left -= int64(n)
	switch {
	case b.left > 0:
	case b.ends == bodyLength:
		b.whole.Store(true)
	case b.ends == bodyChunked && n > 0:
		b.state = chunkEnd
	}
}

func (b *body) fail(err error) error {
	if errors.Is(err, io.EOF) && b.ends != bodyUntilClose {
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	b.broken.Store(true)
	return err
}

// Ready is httpx.BodyReader's.
func (b *body) Ready() bool {
	if b.in.aborted() != nil {
		return true
	}
	n, err := b.advance()
	return n > 0 || err != nil
}

// Trailers is httpx.BodyReader's.
func (b *body) Trailers() *httpx.Fields {
	if b.trailers.Len() == 0 || b.state != chunkDone {
		return nil
	}
	return &b.trailers
}

// skip throws away up to limit bytes of what is buffered, and reports whether the message is completely read.
func (b *body) skip(limit int64) (skipped int64, ended bool) {
	for {
		n, err := b.advance()
		if err != nil {
			return skipped, errors.Is(err, io.EOF) && b.ends != bodyUntilClose
		}
		if n == 0 || skipped+int64(n) > limit {
			return skipped, false
		}
		skipped += int64(n)
		b.in.consume(n)
		b.used(n)
	}
}

// drain reads and throws away up to limit bytes of the body and reports whether that was all of it.
func (b *body) drain(limit int64) bool {
	for {
		n, ended := b.skip(limit)
		if ended {
			return true
		}
		limit -= n
		if b.ends == bodyLength && b.left > limit {
			return false
		}
		if n, err := b.advance(); n > 0 || err != nil || b.in.fill() != nil {
			return false
		}
	}
}
