package call

import (
	"bytes"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Names of fields mean the same in any case (RFC 9110 §5.1), and HTTP/2 writes them in lower case (RFC 9113 §8.2.1). Some
// HTTP/1.1 software compares them byte by byte all the same. Between two sidecars, whose transport is HTTP/2, this mark
// lists the names of a head that are not in lower case, in their order, where both ends speak HTTP/1.1. The heads of one
// client are much alike, so that HPACK makes a byte or two of the list.

// spellingField holds the names, separated by commas.
const spellingField = markPrefix + "spelling"

// maxSpelling bounds the list. Heads whose list would be longer keep their names in lower case.
const maxSpelling = 2 << 10

// markSpelling adds the list to the fields it is about.
func (f *forwarder) markSpelling(fields *httpx.Fields) {
	f.spelling = f.spelling[:0]
	for i := range fields.Len() {
		name, _ := fields.At(i)
		if !hasUpper(name) {
			continue
		}
		if len(f.spelling) > 0 {
			f.spelling = append(f.spelling, ',')
		}
		f.spelling = append(f.spelling, name...)
	}
	if n := len(f.spelling); n > 0 && n <= maxSpelling {
		fields.AddName(spellingField, f.spelling)
	}
}

// respell gives the fields the names that the list in spellingField says. The caller trusts the list no further
// than that: it can change nothing but the case of a name.
func respell(fields *httpx.Fields) {
	list := fields.Get(spellingField)
	for i := 0; i < fields.Len() && len(list) > 0; i++ {
		name, rest, _ := bytes.Cut(list, []byte(","))
		if fields.Respell(i, name) {
			list = rest
		}
	}
}

func hasUpper(b []byte) bool {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}
