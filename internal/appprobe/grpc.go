package appprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// grpcCheck calls grpc.health.v1.Health/Check without TLS, as the kubelet does. The messages have one field each and
// are written and read by hand (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
type grpcCheck struct {
	address string
	message []byte // the request, in gRPC's framing
	dialer  dialer
}

// serving is HealthCheckResponse.SERVING.
const serving = 1

const (
	frameHead  = 5       // of a gRPC message: compressed or not, and the length
	maxMessage = 4 << 10 // a response is 2 bytes
)

func newGRPC(p *GRPC, d dialer) (func(context.Context, string) error, error) {
	address, err := d.address("", p.Port)
	if err != nil {
		return nil, err
	}
	message := make([]byte, frameHead)
	if p.Service != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, p.Service)
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-frameHead))
	c := &grpcCheck{address: address, message: message, dialer: d}
	return c.run, nil
}

func (c *grpcCheck) run(ctx context.Context, agent string) error {
	conn, err := c.dialer.connect(ctx, c.address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	client := h2.NewClient(conn, h2.Options{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client.Run(ctx) //nolint:errcheck // what goes wrong with it goes wrong with the call
	}()
	defer func() {
		cancel()
		<-ended
	}()
	return c.call(client, agent)
}

// call makes the one call of a connection. It returns at the latest when the connection ends.
func (c *grpcCheck) call(client *h2.Client, agent string) error {
	stream, err := client.Open()
	if err != nil {
		return err
	}
	defer stream.Close()
	req := httpx.Request{
		Version: httpx.HTTP2, Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte(c.address),
		Path: []byte("/grpc.health.v1.Health/Check"), ContentLength: -1,
	}
	req.Fields.AddString("content-type", "application/grpc")
	req.Fields.AddString("te", "trailers")
	req.Fields.AddString("user-agent", agent)
	if err := stream.Send(&req); err != nil {
		return err
	}
	if _, err := stream.Write(c.message); err != nil {
		return err
	}
	if err := stream.End(nil); err != nil {
		return err
	}
	var resp httpx.Response
	if err := stream.Receive(&resp); err != nil {
		return err
	}
	if resp.Status != 200 {
		return &statusError{resp.Status}
	}
	body, err := io.ReadAll(io.LimitReader(stream, maxMessage+1))
	if err != nil {
		return err
	}
	if err := grpcStatus(&resp.Fields, stream.Trailers()); err != nil {
		return err
	}
	return health(body)
}

// grpcStatus reads how a call ended, from the trailers or, where there is nothing else, from the head.
func grpcStatus(head, trailers *httpx.Fields) error {
	from := head
	if trailers != nil && trailers.Get("grpc-status") != nil {
		from = trailers
	}
	switch status := string(from.Get("grpc-status")); status {
	case "0":
		return nil
	case "":
		return errors.New("the answer is not gRPC: it has no grpc-status")
	case "12":
		return errors.New("the app does not implement grpc.health.v1.Health")
	case "5":
		return errors.New("the app does not know the service (gRPC status 5)")
	default:
		return fmt.Errorf("gRPC status %s %s", status, from.Get("grpc-message"))
	}
}

// health reads a HealthCheckResponse.
func health(body []byte) error {
	if len(body) < frameHead || len(body) > maxMessage || body[0] != 0 {
		return fmt.Errorf("the answer of %d bytes is no plain gRPC message", len(body))
	}
	status := uint64(0)
	for b := body[frameHead:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if number == 1 && kind == protowire.VarintType {
			if status, n = protowire.ConsumeVarint(b); n < 0 {
				return protowire.ParseError(n)
			}
		} else if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	if status != serving {
		return errors.New("health status " + statusName(status))
	}
	return nil
}

// statusName is HealthCheckResponse.ServingStatus in words.
func statusName(status uint64) string {
	names := [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if status < uint64(len(names)) {
		return names[status]
	}
	return strconv.FormatUint(status, 10)
}
