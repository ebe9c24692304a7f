//go:build envoy

package differential_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
)

// logged makes a request, and gives what the access log of the side says of its end.
func logged(fields map[string]string) func(*testing.T, *limitedCaller) []string {
	return func(t *testing.T, c *limitedCaller) []string {
		id := c.id()
		c.ask(t.Context(), id, fields)
		return []string{c.line(t, id)}
	}
}

// line waits for the line of a request, and gives its status and its flags.
func (c *limitedCaller) line(t *testing.T, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if line := c.side.log.of(c.path(id)); line != nil {
			t.Logf("%s: %v %v %v", c.side.name, line["response_code"], line["response_flags"], line["response_code_details"])
			flags := strings.Split(fmt.Sprint(line["response_flags"]), ",")
			slices.Sort(flags) // which is each one's own
			return fmt.Sprint(line["response_code"], " ", strings.Join(flags, ","))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s has no line of %s:\n%s", c.side.name, id, c.side.log)
		}
	}
}

// overflowing has a request under way, and another one that is too many.
func overflowing(t *testing.T, c *limitedCaller) []string {
	release, first := c.begin(t)
	out := logged(nil)(t, c)
	release()
	<-first
	return out
}

// leaving is a client that does not wait for the answer.
func leaving(t *testing.T, c *limitedCaller) []string {
	ctx, leave := context.WithCancel(t.Context())
	id, ended := c.id(), make(chan struct{})
	go func() {
		defer close(ended)
		c.ask(ctx, id, map[string]string{"X-Holds": "1"})
	}()
	for <-c.app.entered != id { // another one has given up by itself
	}
	leave()
	<-ended
	return []string{c.line(t, id)}
}

// TestEnvoyFlagsAlike has calls come to every end that a rule, an app or a client can give them, and compares what the access logs of
// an Envoy and of Fairlead's proxy call it.
func TestEnvoyFlagsAlike(t *testing.T) {
	app, port := newGated(t)
	held, dies := map[string]string{"X-Holds": "1"}, map[string]string{"X-Dies": "1"}
	const never, again = "retries: {attempts: 0}", "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}"
	const always = "percentage: {value: 100}"
	all := []limited{
		{name: "ok", port: "http", http: never, does: logged(nil)},
		{name: "answered-500", port: "http", http: never, does: logged(map[string]string{"X-Answers": "500"})},
		{name: "overflow", port: "http", pool: "connectionPool: {http: {http2MaxRequests: 1}}", http: never, does: overflowing},
		{name: "nowhere", port: "http", http: never, endpoints: "[]", does: logged(nil)},
		{name: "refused", port: "http", http: never, endpoints: "[{addresses: [127.0.0.9], conditions: {ready: true}}]", does: logged(nil)},
		{name: "time-is-up", port: "http", http: "timeout: 300ms, " + never, does: logged(held)},
		{name: "tries-are-up", port: "http", http: again, does: logged(map[string]string{"X-Answers": "503"})},
		{name: "time-of-tries-is-up", port: "http", http: "retries: {attempts: 1, perTryTimeout: 200ms, retryOn: 5xx, backoff: 1ms}", does: logged(held)},
		{name: "refused-again", port: "http", http: again, endpoints: "[{addresses: [127.0.0.9], conditions: {ready: true}}]", does: logged(nil)},
		{name: "no-rule", port: "http", http: never + ", match: [{uri: {exact: /nothing}}]", does: logged(nil)},
		{name: "broken", port: "http", http: never, does: logged(dies)},
		{name: "reset", port: "http2", http: never, does: logged(dies)},
		// One that ends its connection in HTTP/1.1 may wait for the answer all the same.
		{name: "left", port: "http2", http: never, does: leaving, ours: []string{"0 DC"}},
		{name: "injected", port: "http", http: never + ", fault: {abort: {httpStatus: 418, " + always + "}}", does: logged(nil)},
		{name: "injected-late", port: "http", http: never + ", fault: {delay: {fixedDelay: 1ms, " + always + "}}", does: logged(nil)},
		{name: "injected-late-and-broken", port: "http", http: never + ", fault: {delay: {fixedDelay: 1ms, " + always + "}, abort: {httpStatus: 418, " + always + "}}", does: logged(nil)},
		{name: "idle", port: "http", annotations: "timeout.linkerd.io/idle: 300ms", http: never, does: logged(held)},
	}
	var mesh strings.Builder
	hosts := make([]string, len(all))
	for i := range all {
		hosts[i] = all[i].name
		mesh.WriteString(all[i].manifests(i, port))
	}
	snapshot, problems := compiletest.Load(t, mesh.String())
	if len(problems) > 0 {
		t.Fatalf("not all of it is in force: %v", problems)
	}
	sides := []side{startEnvoy(t, snapshot), startFairlead(t, snapshot, hosts)}
	for i := range all {
		l := &all[i]
		t.Run(l.name, func(t *testing.T) {
			var got [2][]string
			for j, s := range sides {
				got[j] = l.does(t, &limitedCaller{limited: l, side: s, app: app})
			}
			if l.ours != nil {
				got[0] = l.ours
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("-Envoy +Fairlead\n%s", diff)
			}
		})
	}
}
