package discovery

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/protofield"
)

// A pod that ends asks who may still choose it: docs/adr/0015-acknowledged-drain.md.

// HoldersRequest is message HoldersRequest: how the pod of the caller's token ends.
type HoldersRequest struct {
	// Told means that the sidecar knows from the control plane that the pod ends. A replica that does not know yet waits
	// until it does.
	Told bool
	// Wait is how long the answer may wait for the last holder to let go; maxHoldersWait at most.
	Wait time.Duration
	// Open are the connections that the pod's sidecar still has, Left is how long it will go on at most.
	Open uint64
	Left time.Duration
	// Ended is set in the last request of a sidecar, after it took Took.
	Ended Ending
	Took  time.Duration
}

// Ending is how a sidecar's drain ended. The zero value means that it goes on.
type Ending uint8

const (
	// EndedReleased means that no caller held the pod any more and nothing was open.
	EndedReleased Ending = iota + 1
	// EndedForced means that the time was up before.
	EndedForced
)

// HoldersResponse is message HoldersResponse, of one replica of the control plane.
type HoldersResponse struct {
	// Marked means that this replica knows that the pod ends, and says so in what it sends.
	Marked bool
	// Count is how many sidecars, of those connected to this replica, may still choose the pod.
	Count uint64
	// Replicas are where others can be asked, "host:port".
	Replicas []string
}

// Departing is how the resources stand to a pod, as a Source knows it.
type Departing struct {
	// Marked means that the pod ends, and that no answer of the source has it any more as an endpoint to be chosen.
	Marked bool
	// Versions are the newest ones of the resources that have, or had, the pod as an endpoint, by canonical name.
	Versions map[string]string
}

// Departure is a pod that is ending, as its sidecar says and the server's streams have it.
type Departure struct {
	Client ClientIdentity
	// Since is when the replica first heard of it; Marked as in Departing.
	Since  time.Time
	Marked bool
	// Open and Deadline are the sidecar's word.
	Open     uint64
	Deadline time.Time
	// Holders are the IDs of the sidecars that may still choose the pod, in order.
	Holders []string
}

const (
	// maxHoldersWait bounds HoldersRequest.Wait: a client may call once per second, see callRate.
	maxHoldersWait = 2 * time.Second
	// maxHoldersRequest and maxReplicas bound what is read of a request and of an answer.
	maxHoldersRequest = 1 << 10
	maxReplicas       = 16
	// departureKept is how long after its last word a departing pod is remembered.
	departureKept = 10 * time.Second
	// maxDepartures bounds the pods that are remembered. Those beyond are answered all the same, and not listed.
	maxDepartures = 1 << 12
)

// departures are the pods that have asked who holds them.
type departures struct {
	mu   sync.Mutex
	pods map[ClientIdentity]*departure // guarded by mu
}

// departure is what is known of one of them.
type departure struct {
	since, heard, deadline time.Time
	marked                 time.Time // since when answers do not have it; zero before
	open                   uint64
	awaited                awaited
}

// awaited are the responses whose acknowledgement is waited for: those that brought the first version without the pod, by
// who got it. Versions that follow each other faster than they are acknowledged so do not put the end off.
type awaited map[place]uint64

type place struct {
	st   *stream
	name string
}

// note takes a request down and gives what is known of its sender.
func (d *departures) note(client ClientIdentity, r *HoldersRequest, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.pods, func(_ ClientIdentity, p *departure) bool { return now.Sub(p.heard) > departureKept })
	if r.Ended != 0 {
		delete(d.pods, client)
		return
	}
	p := d.pods[client]
	if p == nil {
		if len(d.pods) >= maxDepartures {
			return
		}
		p = &departure{since: now, awaited: make(awaited)}
		d.pods[client] = p
	}
	p.heard, p.open, p.deadline = now, r.Open, now.Add(r.Left)
}

// Departures lists the pods that are ending and whose sidecars are asking, by ID. ctx bounds the questions to the source.
func (s *Server) Departures(ctx context.Context) []Departure {
	now := time.Now()
	s.departures.mu.Lock()
	list := make([]Departure, 0, len(s.departures.pods))
	for client, p := range s.departures.pods {
		if now.Sub(p.heard) <= departureKept {
			list = append(list, Departure{Client: client, Since: p.since, Open: p.open, Deadline: p.deadline})
		}
	}
	s.departures.mu.Unlock()
	slices.SortFunc(list, func(a, b Departure) int { return strings.Compare(a.Client.ID(), b.Client.ID()) })
	for i := range list {
		found, holders, err := s.holders(ctx, list[i].Client)
		if err != nil {
			continue // shown without
		}
		list[i].Marked = found.Marked
		for _, h := range holders {
			list[i].Holders = append(list[i].Holders, h.ID())
		}
		slices.Sort(list[i].Holders)
		list[i].Holders = slices.Compact(list[i].Holders)
	}
	return list
}

// serveHolders answers once no caller holds the client's pod any more, or after the time that it gives.
func (s *Server) serveHolders(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	if s.o.Departing == nil || client.Pod == "" {
		return &StatusError{Code: CodeUnimplemented, Message: "nobody can say who holds the pod: the token names none, or this control plane does not know"}
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	message, err := readFrame(r.Body, maxHoldersRequest)
	if err != nil {
		return &StatusError{Code: CodeInvalidArgument, Message: "HoldersRequest: " + err.Error()}
	}
	request, err := parseHoldersRequest(message)
	if err != nil {
		return &StatusError{Code: CodeInvalidArgument, Message: "HoldersRequest: " + err.Error()}
	}
	s.departures.note(client, request, time.Now())
	if request.Ended != 0 {
		if s.o.Trace.Departed != nil {
			s.o.Trace.Departed(client, request.Ended, request.Took)
		}
		return answer(w, &HoldersResponse{})
	}
	out, err := s.awaitRelease(r.Context(), client, request)
	if err != nil {
		return err
	}
	return answer(w, out)
}

func answer(w io.Writer, r *HoldersResponse) error {
	message, err := seal(r.append(make([]byte, headerSize)))
	if err == nil {
		_, err = io.Copy(w, bytes.NewReader(message))
	}
	return err
}

// The pauses between looks at who holds a pod, doubled each time. Most callers acknowledge within a few milliseconds.
const firstLook, lastLook = 4 * time.Millisecond, 256 * time.Millisecond

// awaitRelease looks until no caller holds the client's pod, for at most the time that the request gives.
func (s *Server) awaitRelease(ctx context.Context, client ClientIdentity, r *HoldersRequest) (*HoldersResponse, error) {
	until := time.Now().Add(min(r.Wait, maxHoldersWait))
	for look := firstLook; ; look = min(2*look, lastLook) {
		found, holders, err := s.holders(ctx, client)
		if err != nil {
			return nil, &StatusError{Code: CodeUnavailable, Message: err.Error()}
		}
		left := time.Until(until)
		if len(holders) == 0 && (found.Marked || !r.Told) || left <= 0 {
			out := &HoldersResponse{Marked: found.Marked, Count: uint64(len(holders))}
			if s.o.Replicas != nil {
				out.Replicas = s.o.Replicas()
				out.Replicas = out.Replicas[:min(len(out.Replicas), maxReplicas)]
			}
			return out, nil
		}
		if err := pause(ctx, min(look, left)); err != nil {
			return nil, err
		}
	}
}

// holders lists the connected clients that may still choose a pod, its own sidecar left out.
func (s *Server) holders(ctx context.Context, client ClientIdentity) (Departing, []ClientIdentity, error) {
	found, err := s.o.Departing(ctx, client)
	if err != nil {
		return found, nil, err
	}
	s.mu.RLock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.RUnlock()
	s.departures.mu.Lock()
	defer s.departures.mu.Unlock()
	since, awaited := time.Now(), make(awaited)
	if p := s.departures.pods[client]; p != nil && found.Marked {
		if p.marked.IsZero() {
			p.marked = since
		}
		since, awaited = p.marked, p.awaited
	}
	var holders []ClientIdentity
	for _, st := range streams {
		if st.client != client && (st.holdsAny(found.Versions, since.UnixNano(), awaited) || !found.Marked && st.hasAny(found.Versions)) {
			holders = append(holders, st.client)
		}
	}
	return found, holders, nil
}

// hasAny reports whether the client was sent any version of one of the resources.
func (st *stream) hasAny(names map[string]string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for n := range names {
		if st.held[n] != nil {
			return true
		}
	}
	return false
}

// holdsAny reports whether the client has not acknowledged a version of one of the resources that is the newest, or was
// asked for after a moment.
func (st *stream) holdsAny(newest map[string]string, since int64, first awaited) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	holds := false
	for n, version := range newest { // all of them, so that each is awaited from now on
		h := st.held[n]
		if h == nil {
			continue
		}
		_, refused := st.refused[n]
		holds = !h.confirmed(st.acked, first, place{st, n}, h.version == version || h.at >= since) || refused || holds
	}
	return holds
}

// confirmed reports whether the client has acknowledged a version that will do. does says whether the newest that it was
// sent does.
func (h *sent) confirmed(acked uint64, first awaited, of place, does bool) bool { //nolint:revive // does is a fact, not a switch
	if nonce, waiting := first[of]; waiting && nonce <= acked {
		return true
	}
	if does && h.nonce > acked {
		if _, waiting := first[of]; !waiting {
			first[of] = h.nonce
		}
		return false
	}
	return does
}

// append adds the bytes of r to b.
func (r *HoldersRequest) append(b []byte) []byte {
	b = appendNumber(b, 1, milliseconds(r.Wait))
	b = appendNumber(b, 2, r.Open)
	b = appendNumber(b, 3, milliseconds(r.Left))
	b = appendNumber(b, 4, uint64(r.Ended))
	b = appendNumber(b, 5, milliseconds(r.Took))
	if r.Told {
		b = appendNumber(b, 6, 1)
	}
	return b
}

func parseHoldersRequest(b []byte) (*HoldersRequest, error) {
	r := &HoldersRequest{}
	err := protofield.Each(b, func(n int, _ []byte, number uint64) error {
		switch n {
		case 1:
			r.Wait = duration(number)
		case 2:
			r.Open = number
		case 3:
			r.Left = duration(number)
		case 4:
			r.Ended = Ending(min(number, uint64(EndedForced)))
		case 5:
			r.Took = duration(number)
		case 6:
			r.Told = number != 0
		}
		return nil
	})
	return r, err
}

// append adds the bytes of r to b.
func (r *HoldersResponse) append(b []byte) []byte {
	if r.Marked {
		b = appendNumber(b, 1, 1)
	}
	b = appendNumber(b, 2, r.Count)
	return appendTexts(b, 3, r.Replicas)
}

func parseHoldersResponse(b []byte) (*HoldersResponse, error) {
	r := &HoldersResponse{}
	err := protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			r.Marked = number != 0
		case 2:
			r.Count = number
		case 3:
			if len(r.Replicas) < maxReplicas {
				r.Replicas = append(r.Replicas, note(v))
			}
		}
		return nil
	})
	return r, err
}

// milliseconds and duration carry times of up to an hour.
func milliseconds(d time.Duration) uint64 { return uint64(max(0, d.Milliseconds())) }

func duration(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(time.Hour/time.Millisecond))) * time.Millisecond
}

// Holders asks a replica of the control plane who may still choose the client's own pod: the one at an address, or one of
// those that the client was made with where the address is empty.
func (c *Client) Holders(ctx context.Context, addr string, r *HoldersRequest) (*HoldersResponse, error) {
	var message []byte
	var err error
	if addr != "" {
		message, err = c.unary(ctx, addr, pathHolders, r.append(make([]byte, headerSize)))
	} else {
		message, err = c.unaryAny(ctx, pathHolders, r.append(make([]byte, headerSize)))
	}
	if err != nil {
		return nil, err
	}
	return parseHoldersResponse(message)
}
