// Package plan says what a proxy does, as named resources that do not depend on who asks: each is compiled once,
// encoded once, and the same bytes go to every proxy that subscribed to its name.
//
// In: internal/compile builds the values from the model. Out: internal/discovery carries them, internal/proxy obeys
// them, and the CLI prints them. Values are immutable once published and may be read from any goroutine.
//
// Names:
//
//	dst/<ns>/<host>:<port>[?ns=<client namespace>]   Destination; the variant exists only where the client's
//	                                                 namespace has configuration of its own for the host
//	pod/[<network>/]<ip>:<port>[?ns=…]               Destination of one workload, dialled by its address; variants as above
//	eps/<host>:<port>/slice/[<cluster>/]<slice>[#<n>][?ns=…]
//	                                                 EndpointShard; <n> counts from 2 where a slice holds more than 100,
//	                                                 the variant exists only where subsets differ, with &rule=<name> for
//	                                                 the callers that a DestinationRule selects
//	eps/<host>:<port>/static/<ns>[#<n>]              EndpointShard of a ServiceEntry's own endpoints
//	eps/<host>:<port>/workloads/<ns>[#<n>]           EndpointShard of the pods that a ServiceEntry selects
//	eps/<ip>:<port>/pod[/<network>][?ns=…]           EndpointShard of one workload, dialled by its address
//	pass/<host>:<port>                               Destination without routes, for gateways between networks
//	ip/[<network>/]<ip>                              Workload
//	in/[<cluster>/]<ns>/<pod>                        InboundPolicy
//	dns/<fqdn>                                       DNSName
//	seal/<host>                                      Seal; comes with the destinations that name it
//	cred/<ns>/<secret>                               Credential, with a key; comes with the InboundPolicy of the
//	                                                 pods that are given it
//	roots/<ns>/<secret>                              Credential, of CAs and lists of revoked certificates; as above
//	trust                                            TrustBundle
//	mesh                                             MeshGlobal
//
// A cluster or network is written where it is not the control plane's own. No source gives objects of another
// one yet. ParseName and Name are the only places that know these forms.
//
// A Destination also answers to aliases: "ip/<ip>:<port>" (the address an app dialled) and
// "host/<host>:<port>" (a Host header or SNI). IPv6 addresses are written in brackets before a port.
// The package imports the standard library and internal/model's enums only, and does no I/O.
package plan
