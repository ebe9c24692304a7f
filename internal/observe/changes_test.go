package observe

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestFeed: a stream begins with the counts of the moment, and goes on with those that changed; it ends when the feed does.
func TestFeed(t *testing.T) {
	f := NewFeed()
	f.Note(func(c *Changes) { c.Config++ })
	(*Feed)(nil).Note(func(c *Changes) { c.Config++ })
	s := httptest.NewServer(f)
	defer s.Close()
	client := &http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	next := func() (c Changes) {
		t.Helper()
		if err := lines.Decode(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := next()
	if first != (Changes{Config: 1}) {
		t.Errorf("at first: %+v", first)
	}
	f.Note(func(c *Changes) { c.Traffic += 2 })
	if news := next().Since(first); news != (Changes{Traffic: 2}) {
		t.Errorf("news: %+v", news)
	}
	f.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the end: %v", err)
	}
}
