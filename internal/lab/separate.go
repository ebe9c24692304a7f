package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// Of two labs on separate networks neither has a route to the other's pods. What leads to the other is a prefix of addresses that
// nothing but its gateway has; what leaves by the wire has an address of the own lab's prefix in the place of the pod's, as where
// a cluster's nodes stand in for its pods.

// gatewayPrefix is where other labs find a lab's gateway: the addresses for benchmarks (RFC 2544), which no network routes.
func (n podNetwork) gatewayPrefix() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("198.18.%d.0/24", n))
}

// gateway is the address of the gateway, outward the one that what leaves the lab has.
func (n podNetwork) gateway() netip.Addr { return n.gatewayPrefix().Addr().Next() }
func (n podNetwork) outward() netip.Addr { return n.gateway().Next() }

// LinkSeparate is [Link] for labs whose pods do not reach each other: each lab is a network of its own, and gets a gateway by which
// the other calls it. The gateways stay when the link ends, until the lab is linked without. Nothing changes where it is refused.
func LinkSeparate(ctx context.Context, a, b *Client) error {
	cfgA, cfgB, err := a.linkable(b)
	if err != nil {
		return err
	}
	if err := errors.Join(separable(a, cfgA), separable(b, cfgB)); err != nil {
		return err
	}
	if err := errors.Join(addGateway(a, cfgA), addGateway(b, cfgB)); err != nil {
		return err
	}
	return link(ctx, a, b, func(cfg *config, to *linkTo) {
		cfg.byGateways = true
		to.Prefixes, to.Outward = []netip.Prefix{to.PodNetwork.gatewayPrefix()}, cfg.podNetwork().outward()
	})
}

// separable says what keeps a lab from being a network of its own.
func separable(c *Client, cfg *config) error {
	if !cfg.IPFamily.has(corev1.IPv4Protocol) {
		return fmt.Errorf("lab %q has no addresses of IPv4, which labs on separate networks call each other by", cfg.Name)
	}
	direct, _, err := c.state.linkedTo()
	if err == nil && len(direct) > 0 {
		err = fmt.Errorf("lab %q is linked to cluster %q without gateways, and would be called by one: end that link first, fairlead lab unlink", cfg.Name, direct[0])
	}
	return err
}

// networkName is what the lab's network is called: as mesh.network says, or as the lab.
func (c *config) networkName() string {
	for _, f := range slices.Backward(c.MeshFlags) {
		if name, ok := strings.CutPrefix(f, "--network="); ok && name != "" {
			return name
		}
	}
	return c.Name
}

// addGateway applies what makes the lab a network with a gateway.
func addGateway(c *Client, cfg *config) error {
	objects, err := gatewayObjects(cfg)
	if err != nil {
		return err
	}
	_, err = c.Apply(objects)
	return err
}

func gatewayObjects(cfg *config) ([]source.Object, error) {
	n := cfg.podNetwork()
	read, problems := file.Decode("gateway.yaml", fmt.Appendf(nil, gatewayManifests, cfg.networkName(), n.gateway(), cfg.IPFamily.node()))
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	return read, nil
}

// removeGateway takes away what addGateway has applied. What is in the user's own directories stays, a gateway of that name too.
func removeGateway(c *Client) error {
	cfg, err := c.state.readConfig()
	if err != nil {
		return err
	}
	objects, err := gatewayObjects(&cfg)
	if err != nil {
		return err
	}
	return forget(c, objects)
}

// gatewayManifests take the network's name, the gateway's address, and that of the node.
const gatewayManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: fairlead-system, labels: {topology.istio.io/network: "%[1]s"}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: fairlead-gateway, namespace: fairlead-system}
---
apiVersion: v1
kind: Service
metadata: {name: fairlead-gateway, namespace: fairlead-system, labels: {topology.istio.io/network: "%[1]s"}}
spec: {externalIPs: ["%[2]s"], selector: {app: fairlead-gateway}, ports: [{name: tls, port: 15443}, {name: status, port: 15021, targetPort: 15022}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fairlead-gateway, namespace: fairlead-system}
spec:
  replicas: 2
  selector: {matchLabels: {app: fairlead-gateway}}
  template:
    metadata: {labels: {app: fairlead-gateway, topology.istio.io/network: "%[1]s"}, annotations: {fairlead.dev/inject: "false"}}
    spec:
      serviceAccountName: fairlead-gateway
      terminationGracePeriodSeconds: 60
      containers:
      - name: gateway
        image: fairlead.dev/proxy
        command: [fairlead-proxy, gateway, --controller, "%[3]s:15012"]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: INSTANCE_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        readinessProbe: {httpGet: {path: /healthz/ready, port: 15021}, periodSeconds: 2, failureThreshold: 4}
        volumeMounts: [{name: mesh, mountPath: /var/run/secrets/fairlead, readOnly: true}]
      volumes:
      - name: mesh
        projected:
          sources:
          - serviceAccountToken: {path: token, audience: fairlead}
          - configMap: {name: fairlead-ca-root-cert}
`

// ofNode matches what has the address of the lab's node.
func ofNode() []expr.Any {
	const source, length = 12, 4 // of an IPv4 header (RFC 791 §3.1)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: source, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: netip.MustParseAddr(nodeIP4).AsSlice()},
	}
}

// standIn has what leaves by an interface, and also matches, have one address.
func standIn(name string, outward netip.Addr, also ...expr.Any) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "link-" + name}
	c.AddTable(table) // so that deleting it cannot fail
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	interfaceName := make([]byte, unix.IFNAMSIZ)
	copy(interfaceName, name)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName},
	}, also, []expr.Any{
		&expr.Immediate{Register: 1, Data: outward.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	})})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables (does the kernel have nf_tables with nat?): %w", err)
	}
	return nil
}
