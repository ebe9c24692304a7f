package cluster

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"fairlead.dev/fairlead/internal/apiserver"
)

// Patch sends a patch for path, which may carry a query, and decodes the object that came of it. With
// types.ApplyPatchType, a field manager in the query and an object in full this is server-side apply, which creates
// what is not there.
func (c *Client) Patch(ctx context.Context, path string, kind types.PatchType, patch []byte, into any) error {
	_, err := c.do(ctx, apiserver.Request{Method: http.MethodPatch, Path: path, ContentType: string(kind), Body: patch}, into)
	return err
}

// Delete deletes the object at path, which may carry a query. What it owns is deleted in the background.
func (c *Client) Delete(ctx context.Context, path string) error {
	var answer map[string]any // the object, or a Status
	_, err := c.do(ctx, apiserver.Request{Method: http.MethodDelete, Path: path}, &answer)
	return err
}
