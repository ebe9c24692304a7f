package proxy

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/netio"
)

// TestSniffingIsBounded is a client that says little or nothing and stays.
func TestSniffingIsBounded(t *testing.T) {
	const limit = 60 * time.Second
	for _, tt := range []struct {
		name  string
		claim netio.Claim
		say   string
		// patient: the connection stays, for its server may be the one to speak.
		patient bool
	}{
		{"declared_and_silent", netio.Declared, "", false},
		{"undeclared_and_half_typed", netio.Unclaimed, "GE", false},
		{"undeclared_and_silent", netio.Unclaimed, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, ours := net.Pipe()
				defer client.Close()
				start, ended := time.Now(), make(chan time.Duration, 1)
				go func() {
					sniff(netio.NewPeekConn(ours), tt.claim, limit)
					ended <- time.Since(start)
				}()
				io.WriteString(client, tt.say)
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				select {
				case d := <-ended:
					if tt.patient || d != limit {
						t.Errorf("sniffing ended after %s", d)
					}
				default:
					if !tt.patient {
						t.Error("sniffing goes on after a day")
					}
				}
				client.Close()
				synctest.Wait()
			})
		})
	}
}
