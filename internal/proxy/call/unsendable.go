package call

import (
	"errors"
	"strings"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// unsendable describes a head that a codec refuses to send, nil where err is anything else. Nothing was written, so that
// there is no answer to wait for. The codecs take no message that they could not send on: it was a rule that made one.
func unsendable(err error) error {
	var rule *h1.Error
	switch {
	case errors.As(err, &rule):
		return &httpx.Error{Reason: httpx.Unsendable, Detail: rule.Reason}
	case errors.Is(err, h2.ErrHeadTooLarge):
		return &httpx.Error{Reason: httpx.HeaderTooLarge, Detail: h2Words(err)}
	case errors.Is(err, h2.ErrNoExtendedConnect), errors.Is(err, h2.ErrUpgradeIgnored):
		return &httpx.Error{Reason: httpx.UpstreamProtocolError, Err: err}
	}
	return nil
}

// responseTooLarge describes a response whose head or trailers are more than is taken, by us or by the client; nil where err
// is anything else. It would be as large at the next try.
func responseTooLarge(err error) error {
	if !errors.Is(err, h2.ErrHeadTooLarge) || isFinal(err) {
		return nil
	}
	return &httpx.Error{Reason: httpx.ResponseTooLarge, Detail: h2Words(err)}
}

// h2Words is what the codec says of an error, without its name.
func h2Words(err error) string { return strings.TrimPrefix(err.Error(), "h2: ") }

// isFinal reports whether an exchange has failed for good before its response head: its client is gone or sends what is
// no HTTP, or its head cannot be sent to any endpoint.
func isFinal(err error) bool {
	var e *httpx.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Reason { //nolint:exhaustive // all others may be tried elsewhere
	case httpx.DownstreamGone, httpx.DownstreamProtocolError, httpx.Unsendable, httpx.HeaderTooLarge, httpx.ResponseTooLarge, httpx.UpstreamProtocolError,
		httpx.StreamIdle:
		return true
	}
	return false
}
