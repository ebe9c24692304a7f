package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// waitPoll is the pause between two questions of `fairlead-proxy wait`.
const waitPoll = 100 * time.Millisecond

// wait returns once the sidecar of this network namespace is ready. As the postStart hook of a sidecar that is an
// ordinary container it holds back the containers after it. The error says what is missing.
func wait(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("wait", flag.ContinueOnError)
	timeout := fs.Duration("timeout", time.Minute, "how long to wait")
	page := fs.String("url", "http://127.0.0.1:15021/healthz/ready", "readiness `PAGE` to ask")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *timeout <= 0 {
		return fmt.Errorf("--timeout %s: write a duration above 0, such as 60s", *timeout)
	}
	bounded, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	reason := errors.New("no answer")
	for {
		err := ready(bounded, client, *page)
		if err == nil {
			return nil
		}
		if bounded.Err() == nil {
			reason = err
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("wait: interrupted, the sidecar is not ready: %w", reason)
			}
			return fmt.Errorf("wait: the sidecar is not ready after %s: %w", *timeout, reason)
		}
	}
}

// ready asks the readiness page once.
func ready(ctx context.Context, client *http.Client, page string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	line, _ := bufio.NewReader(resp.Body).ReadString('\n') // a reason that is cut is better than none
	if line = strings.TrimSpace(line); line == "" {
		line = resp.Status
	}
	return errors.New(line)
}
