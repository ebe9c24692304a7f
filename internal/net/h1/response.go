package h1

import (
	"bytes"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// parseResponse makes a response of the block that lies in r.Fields. The length of its body depends on the request
// and is settled by frameResponse.
func parseResponse(r *httpx.Response, h *head, lim limits) error {
	end := r.Fields.Size() - 2
	line, next, err := cutLine(&r.Fields, 0, end)
	if err != nil {
		return err
	}
	version, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return badf("status line %q has no status", clip(line))
	}
	if r.Version, err = parseVersion(version); err != nil {
		return err
	}
	code, phrase, _ := bytes.Cut(rest, []byte(" "))
	n, ok := parseLength(code)
	if !ok || len(code) != 3 || n < statusContinue {
		return badf("status %q is not a number from 100 to 999", clip(code))
	}
	if !httpx.IsText(phrase) {
		return bad("the reason phrase has a control character")
	}
	r.Status = int(n)
	return h.parse(&r.Fields, next, end, lim.fields)
}

// asked is what the meaning of a response depends on.
type asked struct{ head, connect, upgrade bool }

// frameResponse follows RFC 9112 §6.3. It sets r.ContentLength and says what ends the body.
func frameResponse(r *httpx.Response, h *head, a asked) (delimiter, error) {
	if h.chunked && r.Version == httpx.HTTP10 {
		return 0, bad("Transfer-Encoding in an HTTP/1.0 response")
	}
	switch {
	case r.Status == statusSwitchingProtocols:
		if !a.upgrade || len(h.upgrade) == 0 {
			return 0, bad("101 without an upgrade that was asked for")
		}
		r.Upgrade = h.upgrade
		return bodyUntilClose, nil
	case r.Status < 200 || r.Status == statusNoContent:
		if h.chunked || h.length > 0 {
			h.close = true // whatever follows is not a response
		}
		return bodyNone, nil
	case a.connect && r.Status < 300:
		r.ContentLength = -1
		return bodyUntilClose, nil
	case a.head || r.Status == statusNotModified:
		r.ContentLength = h.length
		return bodyNone, nil
	}
	r.ContentLength = h.length
	switch {
	case h.chunked:
		return bodyChunked, nil
	case h.length >= 0:
		return bodyLength, nil
	}
	return bodyUntilClose, nil
}

// checkResponse refuses what would not come out as the one response it is meant to be.
func checkResponse(r *httpx.Response) error {
	if r.Status < statusContinue || r.Status > 999 {
		return badf("status %d to send is not from 100 to 999", r.Status)
	}
	if !httpx.IsText(r.Upgrade) {
		return badf("upgrade %q to send has a control character", clip(r.Upgrade))
	}
	return checkFields(&r.Fields)
}

// framing is what a response head says about its body and its connection.
type framing struct {
	chunked   bool
	length    int64 // -1 to say nothing
	close     bool
	keepAlive bool // to be said, to an HTTP/1.0 client
}

// putResponse writes a head that checkResponse accepted.
func putResponse(o *output, r *httpx.Response, fr framing) {
	o.putString("HTTP/1.1 ")
	o.putInt(int64(r.Status))
	o.putString(" ")
	o.putString(reason(r.Status))
	o.putString("\r\n")
	putFields(o, &r.Fields)
	if fr.chunked {
		o.putString("Transfer-Encoding: chunked\r\n")
	} else if fr.length >= 0 {
		o.putString("Content-Length: ")
		o.putInt(fr.length)
		o.putString("\r\n")
	}
	switch {
	case r.Status == statusSwitchingProtocols:
		putUpgrade(o, r.Upgrade)
	case fr.close:
		o.putString("Connection: close\r\n")
	case fr.keepAlive:
		o.putString("Connection: keep-alive\r\n")
	}
	o.putString("\r\n")
}
