package discovery

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// strictMessages are conditions and proofs: nothing of them may be left out, whatever its number.
func strictMessages() []string {
	return []string{"Payload", "HTTPMatch", "NamedMatch", "StringMatch", "TCPMatch", "TLSSettings", "SelectedBackend", "HealthCheck", "HTTPCheck", "TCPCheck", "GRPCCheck", "ShardPatch"}
}

// firstFields is how many guards have numbers below mustKnow because they were there before the first release. It does not
// grow: a guard that is added has a number from mustKnow on.
const firstFields = 90

// readClasses gives the class of every field, "Message.field", as testdata/fields.txt says.
func readClasses(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	classes := make(map[string]string)
	message := ""
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
			continue
		case len(words) == 1:
			message = words[0]
			continue
		}
		for _, field := range words[1:] {
			name := message + "." + field
			if classes[name] != "" {
				t.Errorf("%s is there twice", name)
			}
			classes[name] = words[0]
		}
	}
	return classes
}

// TestEveryFieldHasAClass asks the author of a field what becomes of it in older sidecars.
func TestEveryFieldHasAClass(t *testing.T) {
	classes := readClasses(t)
	file, err := readContract(t).files.FindFileByPath(resourceFile)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for m := range each(file.Messages()) {
		strict := slices.Contains(strictMessages(), string(m.Name()))
		for f := range each(m.Fields()) {
			name := string(m.Name()) + "." + string(f.Name())
			class := classes[name]
			delete(classes, name)
			counts[class]++
			known := strict || f.Number() >= mustKnow
			switch {
			case class == "":
				t.Errorf("%s = %d is in no class: say in testdata/fields.txt whether a sidecar that does not know it may obey the rest", name, f.Number())
			case class == "guard" && !known:
				t.Errorf("%s = %d is a guard, and sidecars that do not know it would ignore it: give it a number from %d on", name, f.Number(), mustKnow)
			case class != "guard" && known:
				t.Errorf("%s = %d is %s, and sidecars that do not know it would refuse what it belongs to", name, f.Number(), class)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		t.Errorf("%s is in testdata/fields.txt, and not on the wire", name)
	}
	delete(counts, "guard")
	delete(counts, "free")
	delete(counts, "")
	if len(counts) != 1 || counts["first"] != firstFields {
		t.Errorf("fields of other classes than guard and free: %v, want %d that are first", counts, firstFields)
	}
}

// each goes through a list of descriptors.
func each[D any](list interface {
	Len() int
	Get(i int) D
},
) func(yield func(D) bool) {
	return func(yield func(D) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}
