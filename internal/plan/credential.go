package plan

// Credential is what a Secret has for connections on which a sidecar begins TLS, in PEM: a client's certificate and its key, or
// what to judge servers by. It is sent with the inbound policy of the pods that are given it and cannot be asked for. It is a
// secret: kept in memory alone, and on no page.
type Credential struct {
	Name string
	// Cert and Key are those of a NameCredential, CA and CRL those of a NameRoots: a server's certificate must be of one of the
	// CAs, and on none of the lists, of which there may be none.
	Cert, Key, CA, CRL string
	// Source is the Secret.
	Source string
	// Problem says why there is nothing to use; then all others but Source are empty.
	Problem string
}

// ResourceName implements Resource.
func (c *Credential) ResourceName() string { return c.Name }
