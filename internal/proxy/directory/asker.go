package directory

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Channel is what connections and questions ask of the control channel.
type Channel interface {
	// Use asks for a name, or says that it is in use where it is known already.
	Use(name string)
	// Await returns when the name was answered, positively or not, or ctx is done.
	Await(ctx context.Context, name string) error
}

// Asker finds what names lead to, and asks the control plane for those that are not known yet. It implements dns.Table.
type Asker struct {
	dir     *Directory
	channel Channel
	log     *slog.Logger
}

// NewAsker returns an asker of a directory that the channel fills. connected reports whether the control plane is there.
func NewAsker(d *Directory, c Channel, connected func() bool) *Asker {
	return &Asker{dir: d, channel: &outage{Channel: c, connected: connected}, log: d.o.Logger}
}

const (
	// FirstUse is how long the first call to an unknown name waits for the control plane before it passes through.
	FirstUse = 3 * time.Second
	// nameWait is how long a question about a name that was not asked about before waits for the control plane; stub
	// resolvers give up after five seconds.
	nameWait = 2 * time.Second
	// callerWait bounds how long the counting of a peer's first calls waits for its name.
	callerWait = time.Second
)

// Cell finds what an alias leads to, asking the control plane on first use. It gives nil where there is no answer, and a
// cell that leads nowhere where the name is not the mesh's.
func (a *Asker) Cell(ctx context.Context, alias string) *Cell {
	d := a.dir.Find(alias)
	if d != nil && d.Load() != nil {
		return d
	}
	a.channel.Use(alias)
	if d != nil {
		return d
	}
	ctx, cancel := context.WithTimeout(ctx, FirstUse)
	defer cancel()
	if err := a.channel.Await(ctx, alias); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errAway) {
			level = slog.LevelDebug // said when the first one waited in vain
		}
		a.log.LogAttrs(ctx, level, "control plane did not say what is behind an address or host, taken for unknown",
			slog.String("name", alias), slog.Any("error", err))
	}
	return a.dir.Find(alias)
}

// Known implements dns.Table. name is in lower case without its trailing dot.
func (a *Asker) Known(name string) (dns.Answer, bool) {
	entry, _ := a.dir.lookupDNS(plan.DNSQuestion(model.Hostname(name)))
	if entry == nil {
		return dns.Answer{}, false
	}
	return answerOf(entry), true
}

func answerOf(entry *plan.DNSName) dns.Answer {
	return dns.Answer{Addrs: entry.Addresses, CNAME: string(entry.CNAME), TTL: entry.TTL}
}

// Lookup implements dns.Table. name is in lower case without its trailing dot.
func (a *Asker) Lookup(ctx context.Context, name string) (dns.Answer, dns.Owner) {
	resource := plan.DNSQuestion(model.Hostname(name))
	entry, known := a.dir.lookupDNS(resource)
	if entry == nil {
		a.channel.Use(resource)
	}
	if !known {
		ctx, cancel := context.WithTimeout(ctx, nameWait)
		defer cancel()
		if err := a.channel.Await(ctx, resource); err != nil {
			return dns.Answer{}, dns.Unknown
		}
		if entry, known = a.dir.lookupDNS(resource); !known {
			return dns.Answer{}, dns.Unknown
		}
	}
	if entry == nil {
		return dns.Answer{}, dns.NotOurs
	}
	return answerOf(entry), dns.Ours
}

// Workload gives the pod at an address, nil where there is none. known is false where that must be awaited.
func (a *Asker) Workload(ip netip.Addr) (w *plan.Workload, known bool) {
	name := plan.WorkloadName("", ip)
	w, known = a.dir.workload(name)
	a.channel.Use(name)
	return w, known
}

// AwaitWorkload is Workload after at most a second, which is worth a name in the metrics.
func (a *Asker) AwaitWorkload(ctx context.Context, ip netip.Addr) *plan.Workload {
	name := plan.WorkloadName("", ip)
	ctx, cancel := context.WithTimeout(ctx, callerWait)
	defer cancel()
	if a.channel.Await(ctx, name) != nil {
		return nil
	}
	w, _ := a.dir.workload(name)
	return w
}
