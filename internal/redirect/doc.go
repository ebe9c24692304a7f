// Package redirect makes the kernel bring a pod's connections to its sidecar: nftables rules as values, their text, and
// the one transaction that puts them in force.
//
// In: Options, of which Plan makes a Ruleset. Out: Ruleset.String for people (the syntax of nft -f), Apply and Remove
// for the network namespace of the calling thread. Plan is pure and the same for the same Options; Apply replaces
// whatever table of ours is there, so it may be repeated; it either takes effect as a whole or not at all.
//
// The rules, in one table "inet fairlead" for IPv4 and IPv6:
//
//	inbound    TCP from outside        -> 15006, except the mesh port 15008 and excluded ports
//	outbound   TCP of the app          -> 15001, except loopback and what is excluded
//	hairpin    the proxy to its own pod -> 15006, so that an app that calls its own Service passes both sides
//	DNS        UDP and TCP port 53     -> 15053
//
// The proxy's own packets are recognised by user ID, group ID or socket mark and left alone. Connections from the
// proxy to its app come from 127.0.0.6 or ::6 and are left alone as well; PrepareLoopback adds the IPv6 address.
// UDP port 53 is tracked in two conntrack zones, 2 between app and proxy and 1 between proxy and upstream: the two
// flows of one query could otherwise have the same addresses and ports and be taken for one.
//
// The package needs CAP_NET_ADMIN and no binary. It never touches a table that is not its own, and starts nothing.
// To debug: `nft list table inet fairlead` shows each rule with a counter; `fairlead-proxy init --dry-run` prints the
// text without applying it.
package redirect
