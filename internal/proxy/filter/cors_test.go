package filter

import (
	"errors"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

func TestCORS(t *testing.T) {
	policy := model.CORS{
		Origins: []model.StringMatch{{Kind: model.Exact, Value: "https://app"}}, Methods: "GET", Headers: "*", Expose: "x-a", MaxAge: time.Minute, Credentials: true,
	}
	ignoring := policy
	ignoring.Ignore = true
	tests := []struct {
		name           string
		policy         *model.CORS
		method, origin string
		preflight      bool
		answered       bool
		allowed        string // what the answer says of origins, be it the filter's or the app's
	}{
		{"no_policy", nil, "GET", "https://app", false, false, "the app's"},
		{"no_origin", &policy, "GET", "", false, false, "the app's"},
		{"a_page_that_may", &policy, "GET", "https://app", false, false, "https://app"},
		{"a_page_that_may_not", &policy, "GET", "https://evil", false, false, "the app's"},
		{"a_preflight", &policy, "OPTIONS", "https://app", true, true, "https://app"},
		{"a_preflight_is_OPTIONS", &policy, "GET", "https://app", true, false, "https://app"},
		{"OPTIONS_alone_is_none", &policy, "OPTIONS", "https://app", false, false, "https://app"},
		{"a_preflight_of_another_page", &policy, "OPTIONS", "https://evil", true, false, "the app's"},
		{"which_is_ignored", &ignoring, "OPTIONS", "https://evil", true, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := callOf(plan.Route{CORS: tt.policy}, nil)
			c.Request.Method = []byte(tt.method)
			c.Response = new(httpx.Response)
			if tt.origin != "" {
				c.Request.Fields.AddString("Origin", tt.origin)
			}
			if tt.preflight {
				c.Request.Fields.AddString("Access-Control-Request-Method", "PUT")
			}
			err := (CORS{}).Request(t.Context(), c)
			if answered := errors.Is(err, ErrAnswered); answered != tt.answered || err != nil && !answered {
				t.Fatalf("Request = %v, want an answer: %v", err, tt.answered)
			}
			if err == nil {
				c.Response.Fields.AddString("Access-Control-Allow-Origin", "the app's")
				(CORS{}).Response(c)
			}
			if got := string(c.Response.Fields.Get("access-control-allow-origin")); got != tt.allowed {
				t.Errorf("it is allowed to %q, want %q", got, tt.allowed)
			}
			if i := c.Response.Fields.Next("access-control-allow-origin", 0); c.Response.Fields.Next("access-control-allow-origin", i+1) > i && i >= 0 {
				t.Error("it is said twice")
			}
		})
	}
}
