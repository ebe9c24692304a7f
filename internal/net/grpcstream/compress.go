package grpcstream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The fields that say how messages are compressed, and how they may be.
const (
	HeaderEncoding       = "Grpc-Encoding"
	HeaderAcceptEncoding = "Grpc-Accept-Encoding"
	// Encodings is what Decompress takes, as a server says it.
	Encodings = "identity,gzip"
)

const (
	encodingIdentity = "identity"
	encodingGzip     = "gzip"
)

// RefuseCompressed is for a server that takes no compressed messages: UNIMPLEMENTED where the call says that it has some.
func RefuseCompressed(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set(HeaderAcceptEncoding, encodingIdentity)
	if encoding := r.Header.Get(HeaderEncoding); encoding != "" && !strings.EqualFold(encoding, encodingIdentity) {
		return &StatusError{CodeUnimplemented, fmt.Sprintf("compressed messages are not supported, by %.64q or otherwise", encoding)}
	}
	return nil
}

// inflater decompresses messages, one after another.
type inflater struct {
	in  bytes.Reader
	zip gzip.Reader // its window is made once for a call
}

// Decompress has messages that say that they are compressed decompressed as the call's HeaderEncoding says. The limit holds for them
// before and after. UNIMPLEMENTED where that is not known.
func (f *Frames) Decompress(encoding string) error {
	switch strings.ToLower(encoding) {
	case "", encodingIdentity:
	case encodingGzip:
		f.inflater = &inflater{}
	default:
		return &StatusError{CodeUnimplemented, fmt.Sprintf("messages compressed by %.64q are not supported, those by %s are", encoding, Encodings)}
	}
	return nil
}

// inflate gives what b holds. A message that would be larger than the limit costs no more memory than twice that.
func (f *Frames) inflate(b []byte) ([]byte, error) {
	if f.inflater == nil {
		return nil, &StatusError{CodeInternal, "a message says that it is compressed, and the call names no grpc-encoding"}
	}
	f.inflater.in.Reset(b)
	err := f.inflater.zip.Reset(&f.inflater.in)
	var out []byte
	if err == nil {
		out, err = io.ReadAll(io.LimitReader(&f.inflater.zip, int64(f.limit)+1))
	}
	switch {
	case err != nil && errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // inside the message: the call goes on behind it
		fallthrough
	case err != nil:
		return nil, &StatusError{CodeInternal, "decompressing a message: " + err.Error()}
	case len(out) > int(f.limit):
		return nil, &StatusError{CodeResourceExhausted, fmt.Sprintf("a message of %d bytes has more than %d when it is decompressed", len(b), f.limit)}
	}
	return out, nil
}
