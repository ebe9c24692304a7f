package identity

import (
	"errors"
	"testing"
)

// Several meshes may have one root: what it signed is a peer only where its trust domain is one of the mesh's.
func TestPeersAreOfTheMeshesTrustDomains(t *testing.T) {
	ca := newAuthority(t)
	oldOrders, oldUsers := ID{"old.example", "myapp", "orders"}, ID{"old.example", "myapp", "users"}
	tests := []struct {
		name           string
		client, server ID
		aliases        []string // of both
		expected       ID       // by the client
		// clientErr and serverErr are the first complaint of each side, nil for none.
		clientErr, serverErr error
	}{
		{name: "own domain", client: orders, server: users, expected: users},
		{name: "client of another domain", client: oldOrders, server: users, expected: users, serverErr: ErrForeignDomain},
		{name: "server of another domain", client: orders, server: oldUsers, expected: users, clientErr: ErrForeignDomain},
		{name: "client of another domain, of a server that it expected", client: orders, server: oldUsers, expected: oldUsers, serverErr: ErrForeignDomain},
		{name: "client of an alias", client: oldOrders, server: users, aliases: []string{"old.example", "cluster.local"}, expected: users},
		{name: "server of an alias", client: orders, server: oldUsers, aliases: []string{"old.example", "cluster.local"}, expected: users},
		{name: "server not renamed yet", client: orders, server: users, aliases: []string{"old.example"}, expected: oldUsers},
		{
			name: "other service account of an alias", client: orders, server: oldUsers, aliases: []string{"old.example", "cluster.local"},
			expected: ID{"cluster.local", "myapp", "payments"}, clientErr: ErrWrongIdentity,
		},
		{
			name: "expected domain is no alias", client: orders, server: users, aliases: []string{"old.example"},
			expected: ID{"third.example", "myapp", "users"}, clientErr: ErrWrongIdentity,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := readyWorkload(t, ca, tt.client)
			server := readyWorkload(t, ca, tt.server)
			client.SetPeerDomains(tt.aliases)
			server.SetPeerDomains(tt.aliases)
			h := handshake(t, client.ClientConfig(tt.expected.String()), server.ServerConfig())
			refused := tt.clientErr != nil || tt.serverErr != nil
			if (h.clientErr != nil || h.serverErr != nil) != refused {
				t.Fatalf("client: %v, server: %v, want refused = %t", h.clientErr, h.serverErr, refused)
			}
			if tt.clientErr != nil && !errors.Is(h.clientErr, tt.clientErr) {
				t.Errorf("client: %v, want %v", h.clientErr, tt.clientErr)
			}
		})
	}
}

// Who is called by its whole name is taken, of whatever trust domain it is: a ServiceEntry says so by subjectAltNames. Nobody else of that
// domain is, nor the same workload of a third one.
func TestServerOfAnotherTrustDomainIsExpectedByName(t *testing.T) {
	ca := newAuthority(t)
	ledger := ID{"east.example", "payments", "ledger"}
	for _, tt := range []struct {
		name     string
		expected ID
		refused  error
	}{
		{name: "by_its_name", expected: ledger},
		{name: "another_workload_of_its_domain", expected: ID{"east.example", "payments", "audit"}, refused: ErrForeignDomain},
		{name: "the_same_of_the_mesh", expected: ID{users.TrustDomain, "payments", "ledger"}, refused: ErrForeignDomain},
		{name: "the_same_of_a_third_domain", expected: ID{"west.example", "payments", "ledger"}, refused: ErrForeignDomain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := readyWorkload(t, ca, orders), readyWorkload(t, ca, ledger)
			server.SetPeerDomains([]string{orders.TrustDomain})
			h := handshake(t, client.ClientConfig(tt.expected.String()), server.ServerConfig())
			if !errors.Is(h.clientErr, tt.refused) || tt.refused == nil && h.serverErr != nil {
				t.Errorf("client: %v, server: %v, want %v", h.clientErr, h.serverErr, tt.refused)
			}
		})
	}
}

// The server refuses by itself, not only because a client of another mesh refuses it.
func TestServerRefusesForeignTrustDomain(t *testing.T) {
	ca := newAuthority(t)
	client, server := readyWorkload(t, ca, ID{"other.example", "x", "y"}), readyWorkload(t, ca, users)
	lenient := client.ClientConfig(users.String())
	lenient.VerifyConnection = nil
	h := handshake(t, lenient, server.ServerConfig())
	if !errors.Is(h.serverErr, ErrForeignDomain) {
		t.Errorf("server: %v, want %v", h.serverErr, ErrForeignDomain)
	}
	wantError(t, h.serverErr, "got spiffe://other.example/ns/x/sa/y: its trust domain is neither the mesh's nor an alias of it")
	server.SetPeerDomains([]string{"other.example"})
	echo(t, handshake(t, lenient, server.ServerConfig()).must(t))
}
