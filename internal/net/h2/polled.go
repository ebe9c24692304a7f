package h2

import "context"

// Begin is how a connection begins that is served without a goroutine: one whose reads do not wait from now on, and return later where
// nothing has come, an error that passes for crypto/tls. The caller calls Turn, one at a time, when something may have come, and when the
// connection was closed, which is done here, too. An error of either ends the serving, and the caller calls End with it, once. Buffers are
// taken for a turn and given back when it has read everything.
func (sv *Server) Begin(ctx context.Context, later error) error {
	c := &sv.conn
	c.in.later = later
	c.follow(ctx)
	if err := c.shake(ctx); err != nil {
		return err
	}
	c.in.release(c.pool)
	return c.in.digest()
}

// Turn handles what has come. It does not wait for the client, but where crypto/tls answers it: that may take as long as the client takes to
// read. more means that there is more, and that other connections are to come first.
func (sv *Server) Turn() (more bool, err error) { return sv.conn.in.turn() }

// End ends the connection, and returns when every handler has. For the result see Client.Run.
func (sv *Server) End(err error) error { return sv.leave(sv.conn.join(err)) }
