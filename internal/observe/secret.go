package observe

import "strings"

// Redacted stands for the value of a header field that is a secret.
const Redacted = "REDACTED"

// secretParts make the name of a header field that of a secret, wherever in it they stand.
var secretParts = map[string]struct{}{
	"authorization": {}, "authenticat": {}, "cookie": {}, "token": {}, "secret": {}, "passw": {}, "credential": {}, "session": {},
	"api-key": {}, "apikey": {}, "access-key": {}, "signature": {}, "jwt": {}, "csrf": {}, "xsrf": {}, "assertion": {},
}

// secret reports whether the value of a field is for its receiver alone. A field too much is hidden rather than one too few.
func secret(name []byte) bool {
	folded := strings.ReplaceAll(strings.ToLower(string(name)), "_", "-")
	for part := range secretParts {
		if strings.Contains(folded, part) {
			return true
		}
	}
	return false
}

// between reports whether a field is only what two sidecars tell each other.
func between(name []byte) bool {
	const prefix = "x-fairlead-"
	return len(name) >= len(prefix) && foldEqual(name[:len(prefix)], prefix)
}
