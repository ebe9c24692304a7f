package istio

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

// maxMeshNetworks bounds the networks of a mesh's settings, and what is said of each.
const maxMeshNetworks = 1000

// MeshNetworks reads meshNetworks of a mesh, YAML or JSON: by the names of the networks, as in Istio's values, or below
// "networks", as in its ConfigMap. Empty means none. They are in the order of their names.
func MeshNetworks(written string) (model.MeshNetworks, error) {
	if strings.TrimSpace(written) == "" {
		return nil, nil
	}
	text, err := yaml.YAMLToJSONStrict([]byte(written))
	if err != nil {
		return nil, fmt.Errorf("meshNetworks: %w", err)
	}
	if !strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		return nil, errors.New("meshNetworks: write an object, such as {net2: {endpoints: [{fromRegistry: east}], gateways: [{address: 192.0.2.1, port: 15443}]}}")
	}
	var in meshconfig.MeshNetworks
	err = protojson.Unmarshal(text, &in)
	if err != nil && !strings.Contains(string(text), `"networks":`) {
		in.Reset()
		err = protojson.Unmarshal([]byte(`{"networks":`+string(text)+`}`), &in)
	}
	if err != nil {
		return nil, fmt.Errorf("meshNetworks: %w", err)
	}
	if n := len(in.GetNetworks()); n > maxMeshNetworks {
		return nil, fmt.Errorf("meshNetworks: %d networks, at most %d", n, maxMeshNetworks)
	}
	var out model.MeshNetworks
	of := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in.GetNetworks())) {
		n, err := meshNetwork(name, in.GetNetworks()[name])
		if err != nil {
			return nil, fmt.Errorf("meshNetworks: %s%w", name, err)
		}
		for _, cluster := range n.Clusters {
			if before, ok := of[cluster]; ok {
				return nil, fmt.Errorf("meshNetworks: %s: cluster %s is in network %s already", name, cluster, before)
			}
			of[cluster] = name
		}
		out = append(out, n)
	}
	return out, nil
}

func meshNetwork(name string, in *meshconfig.Network) (out model.MeshNetwork, err error) {
	out.Name = name
	if wrong := validation.IsValidLabelValue(name); name == "" || len(wrong) > 0 {
		return out, fmt.Errorf(": the name %q is compared with the label %s, and can be none", name, model.LabelNetwork)
	}
	if n := len(in.GetEndpoints()) + len(in.GetGateways()); n > maxMeshNetworks {
		return out, fmt.Errorf(": %d endpoints and gateways, at most %d", n, maxMeshNetworks)
	}
	for i, e := range in.GetEndpoints() {
		switch from := e.GetNe().(type) {
		case *meshconfig.Network_NetworkEndpoints_FromRegistry:
			out.Clusters = append(out.Clusters, from.FromRegistry)
		case *meshconfig.Network_NetworkEndpoints_FromCidr:
			p, err := netip.ParsePrefix(from.FromCidr)
			if err != nil {
				return out, fmt.Errorf(".endpoints[%d].fromCidr %q is no prefix: write one such as 10.1.0.0/16", i, from.FromCidr)
			}
			out.Prefixes = append(out.Prefixes, p.Masked())
		default:
			return out, fmt.Errorf(".endpoints[%d]: write fromRegistry, the name of a cluster, or fromCidr", i)
		}
	}
	for i, g := range in.GetGateways() {
		to, err := meshGateway(g)
		if err != nil {
			return out, fmt.Errorf(".gateways[%d]%w", i, err)
		}
		out.Gateways = append(out.Gateways, to)
	}
	return out, nil
}

func meshGateway(in *meshconfig.Network_IstioNetworkGateway) (out model.MeshGateway, err error) {
	if in.GetPort() == 0 || in.GetPort() > 65535 {
		return out, fmt.Errorf(".port %d: write one from 1 to 65535, such as %d", in.GetPort(), model.DefaultGatewayPort)
	}
	out.Port = uint16(in.GetPort())
	switch gw := in.GetGw().(type) {
	case *meshconfig.Network_IstioNetworkGateway_Address:
		if out.Address, err = netip.ParseAddr(gw.Address); err != nil {
			return out, fmt.Errorf(".address %q is no IP address: gateways are called by address", gw.Address)
		}
		out.Address = out.Address.Unmap().WithZone("")
	case *meshconfig.Network_IstioNetworkGateway_RegistryServiceName:
		if out.Service = model.CanonicalHost(gw.RegistryServiceName); out.Service == "" {
			return out, errors.New(".registryServiceName: empty; write a full name, such as gateway.istio-system.svc.cluster.local")
		}
	default:
		return out, errors.New(": write address or registryServiceName")
	}
	return out, nil
}
