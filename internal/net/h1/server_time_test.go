package h1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestServerTimeouts(t *testing.T) {
	t.Run("one_byte_a_second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			var slow sync.WaitGroup
			defer slow.Wait()
			slow.Go(func() {
				for _, c := range []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 100)) {
					if _, err := client.Write([]byte{c}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			s := NewServer(server, Options{HeaderTimeout: 10 * time.Second})
			start := time.Now()
			_, err := s.Next()
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != 408 {
				t.Errorf("Next = %v, want status 408", err)
			}
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("after %v, want 10 s", took)
			}
			s.Close()
		})
	})
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			go func() {
				time.Sleep(29 * time.Second)
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
				time.Sleep(time.Hour) // a slow body is not idleness
				_, _ = io.WriteString(client, "x")
				_, _ = io.Copy(io.Discard, client)
			}()
			start := time.Now()
			err := serve(server, Options{IdleTimeout: 30 * time.Second}, func(x *Exchange) error {
				if _, err := io.ReadAll(x); err != nil {
					return err
				}
				return respond(x, 200, "")
			})
			if !errors.Is(err, io.EOF) {
				t.Errorf("serve = %v", err)
			}
			if took := time.Since(start) - time.Hour - 29*time.Second; took < 26*time.Second || took > 30*time.Second {
				t.Errorf("closed after %v of idleness, want 26 to 30 s", took)
			}
		})
	})
	t.Run("unread_body_that_does_not_come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			go func() {
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
				_, _ = io.Copy(io.Discard, client)
			}()
			start := time.Now()
			err := serve(server, Options{}, func(x *Exchange) error { return respond(x, 200, "") })
			if took := time.Since(start); !errors.Is(err, io.EOF) || took > 2*DefaultLingerTimeout {
				t.Errorf("serve = %v after %v", err, took)
			}
		})
	})
}

func TestServerShutdown(t *testing.T) {
	t.Run("idle_connection_ends_at_once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, server := net.Pipe()
			s := NewServer(server, Options{})
			done := make(chan error)
			go func() { _, err := s.Next(); done <- err }()
			synctest.Wait()
			if !s.Idle() {
				t.Error("a waiting connection is not idle")
			}
			s.Shutdown()
			if err := <-done; !errors.Is(err, io.EOF) {
				t.Errorf("Next = %v, want io.EOF", err)
			}
			s.Close()
		})
	})
	t.Run("busy_connection_ends_after_its_response", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			go func() {
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
				time.Sleep(time.Minute)
				_, _ = io.WriteString(client, "hi")
			}()
			got := make(chan string)
			s := NewServer(server, Options{})
			go func() {
				x, err := s.Next()
				if err != nil || s.Idle() {
					t.Errorf("Next = %v, idle = %t", err, s.Idle())
				}
				s.Shutdown()
				if body, err := io.ReadAll(x); string(body) != "hi" {
					t.Errorf("body %q, %v", body, err)
				}
				_ = respond(x, 200, "")
				if _, err := s.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("Next = %v, want io.EOF", err)
				}
				close(got)
			}()
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if !resp.Close {
				t.Error("response without Connection: close")
			}
			client.Close()
			<-got
		})
	})
	t.Run("request_already_in_the_socket_is_served", func(t *testing.T) {
		client, server := tcpPair(t)
		s := NewServer(server, Options{})
		defer s.Close()
		if _, err := io.WriteString(client, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := respond(x, 200, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
		x, err = s.Next()
		if err != nil || string(x.Request().Path) != "/2" {
			t.Fatalf("Next = %v", err)
		}
		if err := respond(x, 200, ""); err != nil {
			t.Fatal(err)
		}
		client.CloseWrite()
		if _, err := s.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("Next = %v", err)
		}
	})
}

func TestServerAbort(t *testing.T) {
	boom := errors.New("boom")
	t.Run("unblocks_both_sides", func(t *testing.T) {
		client, server := tcpPair(t)
		if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		s := NewServer(server, Options{})
		defer s.Close()
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Respond(&httpx.Response{Status: 200, ContentLength: -1}); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		started := make(chan struct{}, 2)
		go func() { started <- struct{}{}; _, err := io.ReadAll(x); errs <- err }()
		go func() {
			big := make([]byte, 1<<20)
			started <- struct{}{}
			for {
				if _, err := x.Write(big); err != nil {
					errs <- err
					return
				}
			}
		}()
		<-started
		<-started
		x.Abort(boom)
		x.Abort(errors.New("too late"))
		for range 2 {
			if err := <-errs; !errors.Is(err, boom) {
				t.Errorf("blocked call = %v, want %v", err, boom)
			}
		}
		if _, err := s.Next(); !errors.Is(err, boom) {
			t.Errorf("Next = %v, want %v", err, boom)
		}
	})
	t.Run("a_body_until_close_does_not_look_complete", func(t *testing.T) {
		client, server := tcpPair(t)
		if _, err := io.WriteString(client, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		s := NewServer(server, Options{})
		defer s.Close()
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		_ = x.Respond(&httpx.Response{Status: 200, ContentLength: -1})
		_, _ = x.Write([]byte("part"))
		_ = x.Flush()
		x.Abort(nil)
		if got, err := io.ReadAll(client); err == nil {
			t.Errorf("client read %q and an orderly end", got)
		}
		if err := x.Flush(); !errors.Is(err, ErrAborted) {
			t.Errorf("Flush = %v", err)
		}
	})
}

// TestServerRefuseReachesTheClient sends a megabyte of fields and does not read before all is sent.
func TestServerRefuseReachesTheClient(t *testing.T) {
	client, server := tcpPair(t)
	s := NewServer(server, Options{})
	inBackground(t, func() {
		defer s.Close()
		_, err := s.Next()
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("Next = %v, want an Error", err)
			return
		}
		if got := cap(s.in.bytes()) + s.x.req.Fields.Size(); got > 100<<10 {
			t.Errorf("%d bytes are held of a head that is refused", got)
		}
		if err := s.Refuse(&httpx.Response{Status: refused.Status}, []byte(refused.Reason)); err != nil {
			t.Errorf("Refuse: %v", err)
		}
	})
	in := "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Field: "+strings.Repeat("v", 89)+"\r\n", 10000) + "\r\n"
	if _, err := io.WriteString(client, in); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !resp.Close || err != nil || !strings.Contains(string(body), "head is longer than 61440 bytes") {
		t.Errorf("response %d, close %t, %q, %v", resp.StatusCode, resp.Close, body, err)
	}
}

func TestServerEnds(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"before_a_request", "", io.EOF},
		{"after_empty_lines", "\r\n\r\n", io.EOF},
		{"inside_a_head", "GET / HT", io.ErrUnexpectedEOF},
		{"inside_a_large_head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 20000), io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewServer(&scriptConn{in: []byte(tt.in)}, Options{})
			defer s.Close()
			if _, err := s.Next(); !errors.Is(err, tt.want) {
				t.Errorf("Next = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestServerIsQuiet waits for requests without a goroutine in between.
func TestServerIsQuiet(t *testing.T) {
	quiet := func(t *testing.T, s *Server) {
		t.Helper()
		if _, err := s.Next(); !errors.Is(err, ErrQuiet) {
			t.Fatalf("Next = %v, want ErrQuiet", err)
		}
	}
	request := func(t *testing.T, s *Server, client net.Conn) {
		t.Helper()
		go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
		go func() { _, _ = client.Read(make([]byte, 1024)) }()
		x, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := respond(x, 200, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	t.Run("and_goes_on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			s := NewServer(server, Options{Patience: time.Second, IdleTimeout: time.Minute})
			defer s.Close()
			begun := time.Now()
			quiet(t, s)
			if took := time.Since(begun); took != time.Second {
				t.Errorf("quiet after %v, want 1s", took)
			}
			time.Sleep(50 * time.Second) // in which nobody waits
			request(t, s, client)
			quiet(t, s) // the time counts from the last request
			if left := time.Until(s.IdleUntil()); left < 58*time.Second || left > time.Minute {
				t.Errorf("%v left, want 59s", left)
			}
			request(t, s, client)
		})
	})
	t.Run("until_its_time_is_up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			s := NewServer(server, Options{Patience: time.Second, IdleTimeout: time.Minute})
			defer s.Close()
			quiet(t, s)
			quiet(t, s)
			time.Sleep(time.Until(s.IdleUntil()))
			if _, err := s.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next = %v, want io.EOF", err)
			}
			if _, err := s.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next afterwards = %v, want io.EOF", err)
			}
		})
	})
	t.Run("in_a_goroutine_all_the_time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			s := NewServer(server, Options{Patience: time.Second, IdleTimeout: time.Minute})
			defer s.Close()
			begun := time.Now()
			err := ErrQuiet
			for errors.Is(err, ErrQuiet) {
				_, err = s.Next()
			}
			if took := time.Since(begun); !errors.Is(err, io.EOF) || took < 52*time.Second || took > 61*time.Second {
				t.Errorf("Next = %v after %v, want io.EOF after 53 to 60 s", err, took)
			}
		})
	})
	t.Run("and_is_shut_down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			s := NewServer(server, Options{Patience: time.Second})
			defer s.Close()
			quiet(t, s)
			if !s.IdleUntil().IsZero() {
				t.Error("it is to be closed")
			}
			s.Shutdown()
			if _, err := s.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next = %v, want io.EOF", err)
			}
		})
	})
}
