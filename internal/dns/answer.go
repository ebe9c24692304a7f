package dns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sort"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// minUDP is the longest answer over UDP to a client that announces no size, in bytes (RFC 1035 §4.2.1).
	minUDP = 512
	// maxUDP is the longest answer over UDP, also to a client that announces more. The packet never leaves the machine,
	// so the 1,232 bytes that every network carries in one piece are no bound here.
	maxUDP = 4096
	// DefaultTTL is that of answers for which the table gives none.
	DefaultTTL = 30 * time.Second
	// ednsVersion is the only version of EDNS there is (RFC 6891).
	ednsVersion = 0
	badVersion  = dnsmessage.RCode(16)
)

// typeSVCB and typeHTTPS (RFC 9460) may carry addresses of their own, which would lead past the mesh.
const (
	typeSVCB  = dnsmessage.Type(64)
	typeHTTPS = dnsmessage.Type(65)
)

// query is one question, taken apart.
type query struct {
	raw      []byte
	header   dnsmessage.Header
	question dnsmessage.Question
	// edns is set where the query has an OPT record; payload is the size it announces, version its version.
	edns    bool
	payload int
	version uint8
	// limit is the longest answer that the transport takes.
	limit int
}

// errNotAQuery means that the message must not be answered at all: it is a response, or too short to have an ID.
var errNotAQuery = errors.New("not a query")

// parseQuery takes a message apart. Where the header is readable and the rest is not, the query is given with the
// error, good enough to answer FORMERR.
func parseQuery(message []byte) (*query, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || header.Response {
		return nil, errNotAQuery
	}
	q := &query{raw: message, header: header, limit: minUDP}
	questions, err := p.AllQuestions()
	if err != nil {
		return q, err
	}
	if len(questions) != 1 {
		return q, fmt.Errorf("%d questions, want 1", len(questions))
	}
	q.question = questions[0]
	if err := errors.Join(p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return q, err
	}
	for {
		h, err := p.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return q, nil
		}
		if err != nil {
			return q, err
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns, q.payload, q.version = true, int(h.Class), uint8(h.TTL>>16)
			q.limit = min(max(q.payload, minUDP), maxUDP)
		}
		if err := p.SkipAdditional(); err != nil {
			return q, err
		}
	}
}

// record is one answer of ours.
type record struct {
	name  dnsmessage.Name
	ttl   time.Duration
	addr  netip.Addr      // for A and AAAA
	cname dnsmessage.Name // for CNAME, where addr is not valid
}

// reply builds an answer. What does not fit the limit is left out and the answer marked truncated, so that the client
// asks again over TCP. The question is repeated byte for byte, since its case may be a nonce.
func (q *query) reply(code dnsmessage.RCode, records []record) ([]byte, error) {
	b, err := q.build(code, records, len(records))
	if err != nil || len(b) <= q.limit {
		return b, err
	}
	fits := sort.Search(len(records), func(n int) bool {
		b, err := q.build(code, records, n+1)
		return err != nil || len(b) > q.limit
	})
	return q.build(code, records, fits)
}

// build packs the first n records, and marks the answer truncated where there are more.
func (q *query) build(code dnsmessage.RCode, records []record, n int) ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 0, minUDP), dnsmessage.Header{
		ID:                 q.header.ID,
		Response:           true,
		OpCode:             q.header.OpCode,
		Authoritative:      code == dnsmessage.RCodeSuccess || code == dnsmessage.RCodeNameError,
		Truncated:          n < len(records),
		RecursionDesired:   q.header.RecursionDesired,
		RecursionAvailable: true,
		RCode:              code & 0xf,
	})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if q.question.Name.Length > 0 {
		if err := b.Question(q.question); err != nil {
			return nil, err
		}
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	for _, r := range records[:n] {
		if err := r.append(&b); err != nil {
			return nil, err
		}
	}
	if err := q.appendEDNS(&b, code); err != nil {
		return nil, err
	}
	return b.Finish()
}

// appendEDNS adds an OPT record where the query has one (RFC 6891 §6.1.1).
func (q *query) appendEDNS(b *dnsmessage.Builder, code dnsmessage.RCode) error {
	if !q.edns {
		return nil
	}
	if err := b.StartAdditionals(); err != nil {
		return err
	}
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(maxUDP, code, false); err != nil {
		return err
	}
	return b.OPTResource(h, dnsmessage.OPTResource{})
}

func (r *record) append(b *dnsmessage.Builder) error {
	h := dnsmessage.ResourceHeader{Name: r.name, Class: dnsmessage.ClassINET, TTL: uint32(r.ttl / time.Second)}
	switch {
	case !r.addr.IsValid():
		return b.CNAMEResource(h, dnsmessage.CNAMEResource{CNAME: r.cname})
	case r.addr.Is4():
		return b.AResource(h, dnsmessage.AResource{A: r.addr.As4()})
	}
	return b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: r.addr.As16()})
}

// addressRecords makes records of the addresses that the question asks for, in random order: clients take the first.
func (q *query) addressRecords(name dnsmessage.Name, addrs []netip.Addr, ttl time.Duration) []record {
	records := make([]record, 0, len(addrs))
	for _, a := range addrs {
		a = a.Unmap()
		if q.wants(a) {
			records = append(records, record{name: name, ttl: ttl, addr: a})
		}
	}
	//nolint:gosec // the order of addresses is no secret
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return records
}

func (q *query) wants(a netip.Addr) bool {
	switch q.question.Type { //nolint:exhaustive // no other type asks for addresses
	case dnsmessage.TypeA:
		return a.Is4()
	case dnsmessage.TypeAAAA:
		return a.Is6()
	case dnsmessage.TypeALL:
		return a.IsValid()
	}
	return false
}

// name is what is asked about, as a Table knows it.
func (q *query) name() string {
	return strings.ToLower(strings.TrimSuffix(q.question.Name.String(), "."))
}

// local reports whether a question about a mesh name is answered here. HTTPS and SVCB get "no data"; types that say
// nothing about addresses (SRV of a headless Service, TXT and MX of an external host) are the upstream's to answer.
func (q *query) local() bool {
	if q.header.OpCode != 0 || q.question.Class != dnsmessage.ClassINET {
		return false
	}
	switch q.question.Type { //nolint:exhaustive // every other type is forwarded
	case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeALL, dnsmessage.TypeCNAME, typeSVCB, typeHTTPS:
		return true
	}
	return false
}
