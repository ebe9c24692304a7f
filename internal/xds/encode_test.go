package xds

import (
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// whole gives the messages of protobuf that say what a response does.
func whole(r *response) (*discovery.DiscoveryResponse, *discovery.DeltaDiscoveryResponse) {
	state := &discovery.DiscoveryResponse{VersionInfo: r.version, TypeUrl: r.typ.URL(), Nonce: r.nonce}
	delta := &discovery.DeltaDiscoveryResponse{SystemVersionInfo: r.version, TypeUrl: r.typ.URL(), Nonce: r.nonce, RemovedResources: r.removed}
	for _, of := range r.resources {
		body := &anypb.Any{TypeUrl: r.typ.URL(), Value: of.Body}
		state.Resources = append(state.Resources, body)
		delta.Resources = append(delta.Resources, &discovery.Resource{Name: of.Name, Version: of.Version, Resource: body})
	}
	return state, delta
}

// checkEncoding compares what is written by hand with what protobuf reads of it.
func checkEncoding(t *testing.T, r *response) {
	t.Helper()
	state, delta := whole(r)
	gotState, gotDelta := &discovery.DiscoveryResponse{}, &discovery.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(appendState([]byte("before"), r)[len("before"):], gotState); err != nil || !proto.Equal(gotState, state) {
		t.Errorf("state of the world = %v, %v; want %v", gotState, err, state)
	}
	if err := proto.Unmarshal(appendDelta([]byte("before"), r)[len("before"):], gotDelta); err != nil || !proto.Equal(gotDelta, delta) {
		t.Errorf("delta = %v, %v; want %v", gotDelta, err, delta)
	}
}

func TestResponsesAreProtobuf(t *testing.T) {
	long := make([]byte, 1<<20)
	checkEncoding(t, &response{})
	for typ := Cluster; typ < types; typ++ {
		checkEncoding(t, &response{typ: typ, nonce: "7", version: "00000000deadbeef", removed: []string{"a", "", "b"}, resources: []Resource{
			{Name: "first", Version: "1", Body: []byte("body")}, {}, {Name: "empty", Version: "2"}, {Name: string(long[:200]), Version: "3", Body: long},
		}})
	}
}

func FuzzResponse(f *testing.F) {
	f.Add("7", "version", "name", "1", []byte("body"), "gone")
	f.Add("", "", "", "", []byte{}, "")
	f.Fuzz(func(t *testing.T, nonce, version, name, of string, body []byte, gone string) {
		for _, s := range []*string{&nonce, &version, &name, &of, &gone} {
			*s = string([]rune(*s)) // protobuf takes UTF-8 alone
		}
		checkEncoding(t, &response{
			typ: Endpoints, nonce: nonce, version: version, removed: []string{gone},
			resources: []Resource{{Name: name, Version: of, Body: body}, {Name: name, Body: append(body, make([]byte, 120)...)}},
		})
	})
}
