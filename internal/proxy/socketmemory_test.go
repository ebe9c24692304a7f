package proxy

import (
	"testing"
	"testing/fstest"
)

func TestSocketMemory(t *testing.T) {
	for _, tt := range []struct {
		name, stat string
		want       int64
	}{
		{"version_2", "anon 1000\nfile 2000\nkernel_stack 3\nsock 78643200\nvmalloc 0\n", 78643200},
		{"none", "anon 1000\nsocket 5\n", 0},
		{"nonsense", "sock many\n", 0},
		{"negative", "sock -4\n", 0},
		{"without_an_end", "sock 7", 7},
	} {
		if got := socketMemory(fstest.MapFS{statFile: {Data: []byte(tt.stat)}}); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := socketMemory(fstest.MapFS{}); got != 0 {
		t.Errorf("version 1: %d", got)
	}
}

// TestOverloadCountsSockets: what lies in the kernel counts while many requests are under way.
func TestOverloadCountsSockets(t *testing.T) {
	o := &overload{limits: new(meshLimits), memory: 100, held: func() int64 { return 40 }, sockets: func() int64 { return 55 }}
	o.shares.tight = &o.tight
	o.look()
	if o.tight.Load() {
		t.Error("with few requests sockets are counted")
	}
	app := share{of: &o.shares}
	o.shares.most = 10 * manyRequests
	for range manyRequests {
		if err := app.Enter(); err != nil {
			t.Fatal(err)
		}
	}
	o.look()
	if !o.tight.Load() {
		t.Error("with many requests sockets are not counted")
	}
}
