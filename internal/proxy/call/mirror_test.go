package call

import (
	"testing"
)

func TestShadowAuthority(t *testing.T) {
	for in, want := range map[string]string{"users": "users-shadow", "users:8080": "users-shadow:8080", "[::1]": "[::1]-shadow", "[::1]:80": "[::1]-shadow:80"} {
		if got := string(shadowAuthority([]byte(in))); got != want {
			t.Errorf("shadowAuthority(%q) = %q, want %q", in, got, want)
		}
	}
}
