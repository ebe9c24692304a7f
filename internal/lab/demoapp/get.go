package demoapp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// getTimeout bounds one "get".
const getTimeout = 10 * time.Second

// getMain is "get URL": the body of the answer on standard output, an error where the status is 400 or more.
func getMain(ctx context.Context, args []string, p Process) error {
	if len(args) != 1 {
		return errors.New("get: say which URL, and nothing else")
	}
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], http.NoBody)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	answer, err := new(http.Client).Do(r)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(p.Out, answer.Body); err != nil {
		return fmt.Errorf("get %s: %w", args[0], err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("get %s: %s", args[0], answer.Status)
	}
	return nil
}
