package cli

import (
	"context"
	"errors"
	"os/exec"
)

// openBrowser has the desktop open a URL. It does not wait for the browser.
func openBrowser(ctx context.Context, url string) error {
	for _, program := range []string{"xdg-open", "open"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		cmd := exec.CommandContext(context.WithoutCancel(ctx), path, url) //nolint:gosec // one of two programs, and an address of ours
		if err := cmd.Start(); err != nil {
			return err
		}
		go cmd.Wait() //nolint:errcheck // the page says itself whether it is there
		return nil
	}
	return errors.New("there is neither xdg-open nor open")
}
