//go:build tools

// Package echo pins the server and the client that the Gateway API's mesh tests call echo-advanced: that image is a
// re-tagged build of these two commands of Istio. A module of its own keeps Istio's dependencies away from everything else.
package echo

import (
	_ "istio.io/istio/pkg/test/echo/cmd/client"
	_ "istio.io/istio/pkg/test/echo/cmd/server"
)
