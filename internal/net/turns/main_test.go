package turns

import (
	"os"
	"testing"

	"fairlead.dev/fairlead/internal/leaktest"
)

// TestMain fails where a test leaves goroutines behind.
func TestMain(m *testing.M) { os.Exit(leaktest.Run(m.Run)) }
