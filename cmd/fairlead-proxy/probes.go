package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/appprobe"
)

// probesEnv is the environment variable in which the injector hands over the probes that it rewrote: a JSON object of
// the paths that the kubelet asks for, with the probe as the pod declared it, its ports as numbers.
const probesEnv = "FAIRLEAD_APP_PROBES"

// declared is one probe in that object, spelled as in a pod.
type declared struct {
	HTTPGet *struct {
		Path        string `json:"path"`
		Port        uint16 `json:"port"`
		Host        string `json:"host"`
		Scheme      string `json:"scheme"`
		HTTPHeaders []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Port uint16 `json:"port"`
		Host string `json:"host"`
	} `json:"tcpSocket"`
	GRPC *struct {
		Port    uint16 `json:"port"`
		Service string `json:"service"`
	} `json:"grpc"`
	TimeoutSeconds int32 `json:"timeoutSeconds"`
}

// appProbes reads the variable; an empty one declares no probe. The error names the path, and the field where JSON
// tells it.
func appProbes(value string) (map[string]appprobe.Probe, error) {
	if value == "" {
		return nil, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(value), &raw); err != nil {
		return nil, fmt.Errorf("%s: not a JSON object of probes by path: %w", probesEnv, err)
	}
	probes := make(map[string]appprobe.Probe, len(raw))
	for _, path := range slices.Sorted(maps.Keys(raw)) {
		var d declared
		decoder := json.NewDecoder(bytes.NewReader(raw[path]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&d); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", probesEnv, path, err)
		}
		probes[path] = d.probe()
	}
	return probes, nil
}

func (d *declared) probe() appprobe.Probe {
	p := appprobe.Probe{Timeout: time.Duration(d.TimeoutSeconds) * time.Second}
	if h := d.HTTPGet; h != nil {
		p.HTTP = &appprobe.HTTPGet{Host: h.Host, Port: h.Port, Path: h.Path, Scheme: h.Scheme}
		for _, f := range h.HTTPHeaders {
			p.HTTP.Headers = append(p.HTTP.Headers, appprobe.Header{Name: f.Name, Value: f.Value})
		}
	}
	if t := d.TCPSocket; t != nil {
		p.TCP = &appprobe.TCPSocket{Host: t.Host, Port: t.Port}
	}
	if g := d.GRPC; g != nil {
		p.GRPC = &appprobe.GRPC{Port: g.Port, Service: g.Service}
	}
	return p
}
