package file

import (
	"testing"

	"fairlead.dev/fairlead/internal/config/catalog"
)

// A kind is either read or in the catalog of those that are not obeyed.
func TestCatalogHoldsNoKindThatIsRead(t *testing.T) {
	t.Parallel()
	for _, k := range catalog.Kinds() {
		if Reads(k.Group, k.Name) {
			t.Errorf("%s of %s is read", k.Name, k.Group)
		}
	}
}
