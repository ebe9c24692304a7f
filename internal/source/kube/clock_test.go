package kube

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestSkewIsWhatAnAnswerProves(t *testing.T) {
	sent := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	for _, tt := range []struct {
		name      string
		got, date time.Duration // after sent's whole second
		want      time.Duration
	}{
		{"the same second", 700 * time.Millisecond, 0, 0},
		{"made in the second before", 700 * time.Millisecond, -time.Second, -600 * time.Millisecond},
		{"an answer that took a minute", time.Minute, 30 * time.Second, 0},
		{"nobody was there to read it", time.Hour, 0, 0},
		{"ahead", time.Second, 10 * time.Minute, 10*time.Minute - time.Second},
		{"behind", time.Second, -10 * time.Minute, -10*time.Minute + 400*time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Source
			s.clock.answered(sent, sent.Truncate(time.Second).Add(tt.got), sent.Truncate(time.Second).Add(tt.date))
			if got := s.Skew(); got != tt.want {
				t.Errorf("Skew() = %s, want %s", got, tt.want)
			}
		})
	}
}

// The dates of all answers count, those that refuse included; one without a date says nothing.
func TestSkewOfAnAPIServer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		date  func() []string
		least time.Duration
		most  time.Duration
	}{
		{"ahead", func() []string { return []string{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} }, 50 * time.Minute, 61 * time.Minute},
		{"behind", func() []string { return []string{time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)} }, -61 * time.Minute, -50 * time.Minute},
		{"no date", func() []string { return nil }, 0, 0},
		{"no date that is one", func() []string { return []string{"tomorrow"} }, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := make(chan struct{}, 1000)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = tt.date()
				w.WriteHeader(http.StatusForbidden)
				asked <- struct{}{}
			}))
			defer server.Close()
			s, err := New(Options{OfClusters: true, Config: &rest.Config{Host: server.URL}})
			if err != nil {
				t.Fatal(err)
			}
			client, err := s.newClient()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Get(t.Context(), "/version", nil); err == nil {
				t.Fatal("what was refused was answered")
			}
			<-asked
			if got := s.Skew(); got < tt.least || got > tt.most {
				t.Errorf("Skew() = %s, want between %s and %s", got, tt.least, tt.most)
			}
		})
	}
}
