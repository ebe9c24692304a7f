package cluster

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Patch sends a patch for path, which may carry a query, and decodes the object that came of it. With
// types.ApplyPatchType, a field manager in the query and an object in full this is server-side apply, which creates
// what is not there.
func (c *Client) Patch(ctx context.Context, path string, kind types.PatchType, patch []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(patch))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", string(kind))
	_, err = c.send(req, path, into)
	return err
}

// Delete deletes the object at path, which may carry a query. What it owns is deleted in the background.
func (c *Client) Delete(ctx context.Context, path string) error {
	var answer map[string]any // the object, or a Status
	_, err := c.do(ctx, http.MethodDelete, path, nil, &answer)
	return err
}
