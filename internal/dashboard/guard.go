package dashboard

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// policy is the Content-Security-Policy of all answers: what the page needs is its own, and nothing else is loaded or run.
const policy = "default-src 'self'; style-src 'self'; img-src 'self' data:; worker-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets requests through that a user of this machine makes, in a page of this server or by hand. A page of somebody else's
// whose name leads here (DNS rebinding) has another Host; one that asks across sites has another Origin, or the browser says so
// (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/).
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if why := s.foreign(r); why != "" {
			fail(w, http.StatusForbidden, why)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// foreign says why a request is not for this server to answer, empty where it is.
func (s *Server) foreign(r *http.Request) string {
	host := hostOf(r.Host)
	if !s.allows(host) {
		return fmt.Sprintf("the dashboard was asked for as host %q, and answers to 127.0.0.1, [::1] and localhost only; if that name is yours, start it with --allow-host %s", host, host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Sprintf("a page of origin %q may not ask the dashboard; open the dashboard itself, or start it with --allow-host if a proxy in front of it changes the Host header", origin)
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return "a page of another site may not ask the dashboard; open the dashboard itself"
	}
	return ""
}

func (s *Server) allows(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() {
		return true
	}
	return host != "" && slices.ContainsFunc(s.o.Hosts, func(allowed string) bool { return strings.EqualFold(allowed, host) })
}

// hostOf is a Host without its port and brackets.
func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
