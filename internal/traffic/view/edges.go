package view

import (
	"cmp"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/traffic"
)

// EdgeRow is one line of "edges", with the JSON keys of "linkerd viz edges".
type EdgeRow struct {
	Src          string `json:"src"`
	SrcNamespace string `json:"src_namespace"`
	Dst          string `json:"dst"`
	DstNamespace string `json:"dst_namespace"`
	ClientID     string `json:"client_id"`
	ServerID     string `json:"server_id"`
	NoTLSReason  string `json:"no_tls_reason"`
	// The clusters are there where the mesh has several.
	SrcCluster string `json:"src_cluster,omitempty"`
	DstCluster string `json:"dst_cluster,omitempty"`
	// Note says more of an end that is not in the mesh.
	Note string `json:"-"`
}

// Edges are the pairs of which one end is of the kind, and one end in the namespace; empty means all of them. Where both ends
// report, the caller's word counts.
func Edges(a *traffic.Answer, kind *Kind, namespace string) []EdgeRow {
	all, x := hops(a)
	type pair struct{ src, srcNS, srcCluster, dst, dstNS, dstCluster string }
	byCaller := map[pair]bool{}
	rows := map[EdgeRow][]string{} // the addresses outside the mesh
	for _, outbound := range []bool{true, false} {
		for i := range all {
			h := &all[i]
			if h.outbound != outbound || h.edge.IsOther() || h.edge.Peer.IsNone() || !h.reachedPeer() {
				continue
			}
			src, ofSrc := x.nameAs(&h.src, kind)
			dst, ofDst := x.nameAs(&h.dst, kind)
			p := pair{src, h.src.namespace, h.src.cluster, dst, h.dst.namespace, h.dst.cluster}
			if src == "" || dst == "" || !ofSrc && !ofDst || namespace != "" && namespace != p.srcNS && namespace != p.dstNS {
				continue
			}
			if outbound {
				byCaller[p] = true
			} else if byCaller[p] && h.src.isMeshed() {
				continue // the caller's word counts; one without a sidecar has none, though its namespace may have callers with one
			}
			row := EdgeRow{Src: src, SrcNamespace: p.srcNS, Dst: dst, DstNamespace: p.dstNS, NoTLSReason: h.edge.NoTLS, SrcCluster: p.srcCluster, DstCluster: p.dstCluster}
			if h.edge.NoTLS == "" {
				row.ClientID, row.ServerID = shortID(h.src.identity), shortID(h.dst.identity)
			}
			rows[row] = append(rows[row], h.edge.Peer.Address)
		}
	}
	out := make([]EdgeRow, 0, len(rows))
	for row, addresses := range rows {
		row.Note = note(row.NoTLSReason, addresses)
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b EdgeRow) int {
		return cmp.Or(
			cmp.Compare(a.SrcNamespace+a.DstNamespace+a.Src+a.Dst, b.SrcNamespace+b.DstNamespace+b.Src+b.Dst),
			cmp.Compare(a.SrcCluster+a.DstCluster, b.SrcCluster+b.DstCluster), cmp.Compare(a.NoTLSReason, b.NoTLSReason), cmp.Compare(a.ClientID+a.ServerID, b.ClientID+b.ServerID),
		)
	})
	return out
}

// reachedPeer reports whether there was a hop at all: the peer of a call that failed before is only what was asked for.
func (h *hop) reachedPeer() bool {
	p := &h.edge.Peer
	return p.Workload != "" || p.Pod != "" || p.Address != ""
}

// note says where plaintext comes from, or goes to.
func note(reason string, addresses []string) string {
	slices.Sort(addresses)
	addresses = slices.DeleteFunc(slices.Compact(addresses), func(a string) bool { return a == "" })
	where := ""
	if len(addresses) > 0 {
		where = addresses[0]
		if len(addresses) > 1 {
			where += fmt.Sprintf(" and %d more", len(addresses)-1)
		}
	}
	switch {
	case reason == traffic.NotProvidedByRemote && where != "":
		return "plaintext from " + where + ", not in the mesh"
	case reason == traffic.NotProvidedByServiceDiscovery && where != "":
		return "plaintext to " + where + ", not in the mesh"
	case reason == traffic.NotProvidedByServiceDiscovery:
		return "plaintext, not in the mesh"
	}
	return ""
}

// Secured is the cell of the row.
func (r *EdgeRow) Secured() string {
	switch {
	case r.NoTLSReason == "":
		return "√"
	case r.Note != "":
		return r.NoTLSReason + ": " + r.Note
	}
	return r.NoTLSReason
}

// EdgeTable is the table of rows. Where the mesh has several clusters it says of which both ends are.
func EdgeTable(rows []EdgeRow, wide bool) *Table { //nolint:revive // -o wide is what it prints
	clusters := slices.ContainsFunc(rows, func(r EdgeRow) bool { return r.SrcCluster+r.DstCluster != "" })
	t := &Table{Header: []string{"SRC", "DST", "SRC_NS", "DST_NS"}}
	if clusters {
		t.Header = append(t.Header, "SRC_CLUSTER", "DST_CLUSTER")
	}
	if wide {
		t.Header = append(t.Header, "CLIENT_ID", "SERVER_ID")
	}
	t.Header = append(t.Header, "SECURED")
	for i := range t.Header {
		t.Left = append(t.Left, i)
	}
	for i := range rows {
		r := &rows[i]
		cells := []string{r.Src, r.Dst, dash(r.SrcNamespace), dash(r.DstNamespace)}
		if clusters {
			cells = append(cells, dash(r.SrcCluster), dash(r.DstCluster))
		}
		if wide {
			cells = append(cells, dash(r.ClientID), dash(r.ServerID))
		}
		t.Rows = append(t.Rows, append(cells, r.Secured()))
	}
	return t
}

func dash(s string) string { return cmp.Or(s, "-") }
