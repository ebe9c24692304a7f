package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

// dnsTTL is what cluster DNS servers use, in seconds.
const dnsTTL = 5

// dnsTable answers for the cluster domain. It never changes once published.
type dnsTable struct {
	addrs  map[string][]netip.Addr // by name in lower case, without the final dot
	srv    map[string][]dnsmessage.SRVResource
	cnames map[string]string
}

// newDNSTable collects the names of Services, of the pods behind headless ones, and of pods by address
// (specification.md of github.com/kubernetes/dns).
func newDNSTable(services []*corev1.Service, bySvc map[model.Key][]*discoveryv1.EndpointSlice, pods []*pod) *dnsTable {
	t := &dnsTable{addrs: map[string][]netip.Addr{}, srv: map[string][]dnsmessage.SRVResource{}, cnames: map[string]string{}}
	for _, svc := range services {
		name := svc.Name + "." + svc.Namespace + ".svc." + clusterDomain
		slices := bySvc[model.Key{Namespace: svc.Namespace, Name: svc.Name}]
		switch {
		case svc.Spec.Type == corev1.ServiceTypeExternalName:
			t.cnames[name] = strings.TrimSuffix(strings.ToLower(svc.Spec.ExternalName), ".")
		case svc.Spec.ClusterIP == corev1.ClusterIPNone:
			t.addHeadless(name, slices)
		default:
			t.addVIPs(name, svc)
		}
	}
	for _, p := range pods {
		for _, a := range p.spec.addrs.list() {
			t.add(dashed(a)+"."+p.spec.key.Namespace+".pod."+clusterDomain, a)
		}
	}
	return t
}

func (t *dnsTable) add(name string, a netip.Addr) { t.addrs[name] = append(t.addrs[name], a) }

func (t *dnsTable) addVIPs(name string, svc *corev1.Service) {
	for _, raw := range svc.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(raw); err == nil {
			t.add(name, a)
		}
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		t.addSRV(name, name, p.Name, slicePort{protocol: p.Protocol, number: p.Port})
	}
}

// addHeadless gives the Service's name the addresses of its ready endpoints, and each of them a name of its own.
func (t *dnsTable) addHeadless(name string, slices []*discoveryv1.EndpointSlice) {
	t.addrs[name] = nil // known, even without endpoints
	for _, s := range slices {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				t.addEndpoint(name, e, s.Ports)
			}
		}
	}
}

func (t *dnsTable) addEndpoint(name string, e *discoveryv1.Endpoint, ports []discoveryv1.EndpointPort) {
	for _, raw := range e.Addresses {
		a, err := netip.ParseAddr(raw)
		if err != nil {
			continue
		}
		own := dashed(a) + "." + name
		if e.Hostname != nil {
			own = *e.Hostname + "." + name
		}
		t.add(name, a)
		t.add(own, a)
		for _, p := range ports {
			if p.Name != nil && p.Port != nil && p.Protocol != nil {
				t.addSRV(name, own, *p.Name, slicePort{protocol: *p.Protocol, number: *p.Port})
			}
		}
	}
}

func (t *dnsTable) addSRV(name, target, port string, p slicePort) {
	dn, err := dnsmessage.NewName(target + ".")
	if port == "" || err != nil {
		return
	}
	key := "_" + port + "._" + strings.ToLower(string(p.protocol)) + "." + name
	t.srv[key] = append(t.srv[key], dnsmessage.SRVResource{Target: dn, Port: uint16(p.number), Weight: 100})
}

func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}

// answer builds the response to one question. Everything outside the cluster domain does not exist: there is no way
// out of a lab.
func (t *dnsTable) answer(h dnsmessage.Header, q dnsmessage.Question) dnsmessage.Message {
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	owner := q.Name
	if target, ok := t.cnames[name]; ok {
		dn, err := dnsmessage.NewName(target + ".")
		if err != nil {
			m.RCode = dnsmessage.RCodeServerFailure
			return m
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: resourceHeader(owner), Body: &dnsmessage.CNAMEResource{CNAME: dn},
		})
		name, owner = target, dn
	}
	addrs, knownAddr := t.addrs[name]
	srv, knownSRV := t.srv[name]
	if !knownAddr && !knownSRV && len(m.Answers) == 0 {
		m.RCode = dnsmessage.RCodeNameError
		return m
	}
	if q.Type == dnsmessage.TypeSRV {
		for i := range srv {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: resourceHeader(owner), Body: &srv[i]})
		}
	}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: resourceHeader(owner), Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: resourceHeader(owner), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m
}

func resourceHeader(name dnsmessage.Name) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: dnsTTL}
}

// respond parses one request and packs the answer, truncated to limit bytes; limit 0 means no limit. A nil answer
// means that the request is not worth one.
func (t *dnsTable) respond(request []byte, limit int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(request)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	if limit > 0 {
		limit = max(limit, advertisedSize(&p))
	}
	m := t.answer(h, q)
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	if limit > 0 && len(out) > limit {
		m.Truncated, m.Answers = true, nil
		out, err = m.Pack()
		if err != nil {
			return nil
		}
	}
	return out
}

// advertisedSize reads the response size of an EDNS option (RFC 6891), at most 1232 bytes.
func advertisedSize(p *dnsmessage.Parser) int {
	if errors.Join(p.SkipAllQuestions(), p.SkipAllAnswers(), p.SkipAllAuthorities()) != nil {
		return 0
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return 0
		}
		if h.Type == dnsmessage.TypeOPT {
			return min(int(h.Class), 1232)
		}
		if p.SkipAdditional() != nil {
			return 0
		}
	}
}

// dnsServer answers on the cluster DNS addresses, over UDP and TCP.
type dnsServer struct {
	logger *slog.Logger
	table  atomic.Pointer[dnsTable]
	udp    []*net.UDPConn
	tcp    []net.Listener
}

func newDNSServer(logger *slog.Logger) *dnsServer {
	s := &dnsServer{logger: logger}
	s.table.Store(newDNSTable(nil, nil, nil))
	return s
}

func (s *dnsServer) publish(t *dnsTable) { s.table.Store(t) }

// listen opens the sockets; run serves them.
func (s *dnsServer) listen(ctx context.Context, addrs []string) error {
	for _, a := range addrs {
		ap := netip.AddrPortFrom(netip.MustParseAddr(a), 53)
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(ap))
		if err != nil {
			return fmt.Errorf("cluster DNS: %w", err)
		}
		s.udp = append(s.udp, udp)
		tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ap.String())
		if err != nil {
			return fmt.Errorf("cluster DNS: %w", err)
		}
		s.tcp = append(s.tcp, tcp)
	}
	return nil
}

// run serves until ctx ends.
func (s *dnsServer) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, u := range s.udp {
		wg.Go(func() { s.serveUDP(u) })
	}
	for _, l := range s.tcp {
		wg.Go(func() { s.serveTCP(l, &wg) })
	}
	<-ctx.Done()
	for _, u := range s.udp {
		_ = u.Close()
	}
	for _, l := range s.tcp {
		l.Close()
	}
	wg.Wait()
	return nil
}

func (s *dnsServer) serveUDP(u *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if out := s.table.Load().respond(buf[:n], 512); out != nil {
			_, _ = u.WriteToUDPAddrPort(out, from)
		}
	}
}

func (s *dnsServer) serveTCP(l net.Listener, wg *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			s.serveStream(conn)
		})
	}
}

// serveStream answers requests with their two bytes of length (RFC 1035, section 4.2.2).
func (s *dnsServer) serveStream(conn io.ReadWriter) {
	var size [2]byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		out := s.table.Load().respond(request, 0)
		if out == nil || len(out) > 0xffff {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}
