package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// socketPair gives both ends of a loopback connection, the first as a Socket.
func socketPair(tb testing.TB) (*Socket, *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	s, err := NewSocket(near.(*net.TCPConn))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close(); far.Close() })
	return s, far.(*net.TCPConn)
}

func TestSocketCarriesBytesBothWays(t *testing.T) {
	s, far := socketPair(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB: more than the buffers, so that writes wait
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(want)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("far end read %d bytes, %v, want %d", len(got), err, len(want))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := far.Write(want)
		sent <- errors.Join(err, far.CloseWrite())
	}()
	if got, err = io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("near end read %d bytes, %v, want %d", len(got), err, len(want))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestSocketErrors(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		s, _ := socketPair(t)
		if err := s.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v, want a deadline error", err)
		}
	})
	t.Run("close_unblocks_a_read", func(t *testing.T) {
		s, _ := socketPair(t)
		done := make(chan error, 1)
		go func() {
			_, err := s.Read(make([]byte, 1))
			done <- err
		}()
		s.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read = %v, want net.ErrClosed", err)
		}
	})
	t.Run("reset_by_the_peer", func(t *testing.T) {
		s, far := socketPair(t)
		far.SetLinger(0)
		far.Close()
		_, err := s.Read(make([]byte, 1))
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "read" {
			t.Errorf("Read = %v, want a net.OpError of read", err)
		}
	})
	t.Run("nothing_asked", func(t *testing.T) {
		s, _ := socketPair(t)
		if n, err := s.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) = %d, %v", n, err)
		}
		if n, err := s.Write(nil); n != 0 || err != nil {
			t.Errorf("Write(nil) = %d, %v", n, err)
		}
	})
}

func TestSocketAllocatesNothing(t *testing.T) {
	s, far := socketPair(t)
	out, in := make([]byte, 64), make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(far, in); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, in); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per exchange, want 0", n)
	}
}
