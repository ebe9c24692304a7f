package appprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Prober makes one probe for whoever has it, in no kubelet's place. It is safe for concurrent use and keeps nothing between
// two runs.
type Prober struct {
	probe Probe
	agent string
	run   func(context.Context, string) error
}

// ProberOptions say how a Prober probes. All fields are required.
type ProberOptions struct {
	// PodIP is what is probed where the probe names no host.
	PodIP netip.Addr
	Dial  func(context.Context, netip.AddrPort) (net.Conn, error)
	// Agent is the User-Agent.
	Agent string
}

// NewProber makes a Prober. The probe's Timeout must be set.
func NewProber(p Probe, o ProberOptions) (*Prober, error) {
	if p.Timeout <= 0 {
		return nil, errors.New("it has no timeout")
	}
	run, err := runner(&p, dialer{podIP: o.PodIP, dial: o.Dial})
	if err != nil {
		return nil, err
	}
	return &Prober{probe: p, agent: o.Agent, run: run}, nil
}

// Run makes the probe; the error says why it failed, in one line.
func (p *Prober) Run(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, p.probe.Timeout)
	defer cancel()
	err := p.run(limited, p.agent)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("no answer within %s", p.probe.Timeout)
	}
	return err
}
