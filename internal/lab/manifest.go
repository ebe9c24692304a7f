package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
)

// Manifest is the text of an object that the lab follows: as the user wrote it, or what the lab made of it. Of several files that
// have the object the last one counts, as for the control plane.
func (c *Client) Manifest(ref model.Ref) (string, error) {
	raw, err := os.ReadFile(c.state.config())
	if err != nil {
		return "", err
	}
	var cfg config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return "", err
	}
	read, err := file.Load(file.LoadOptions{Paths: append(cfg.Paths, c.state.applied(), c.state.generated()), Data: true})
	if err != nil {
		return "", err
	}
	for i := len(read.Objects) - 1; i >= 0; i-- {
		if o := &read.Objects[i]; o.Ref == ref && o.Pos.File != "" {
			return document(o.Pos)
		}
	}
	return "", fmt.Errorf("%s is in none of the lab's directories any more", ref)
}

// document is the YAML document at a position.
func document(at model.Position) (string, error) {
	raw, err := os.ReadFile(at.File)
	if err != nil {
		return "", err
	}
	lines := strings.SplitAfter(string(raw), "\n")
	from := min(max(at.Line-1, 0), len(lines))
	to := from
	for to < len(lines) && (to == from || !strings.HasPrefix(lines[to], "---")) {
		to++
	}
	return strings.Join(lines[from:to], ""), nil
}
