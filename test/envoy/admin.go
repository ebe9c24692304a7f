//go:build envoy

package envoy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Admin reads the pages of an Envoy's admin.
type Admin struct {
	// Client is one whose connections go to the admin, whatever the URL says.
	Client *http.Client
}

// get reads a page of JSON.
func (a Admin) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := a.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("envoy's %s: %s: %s", path, resp.Status, raw)
	}
	return json.Unmarshal(raw, into)
}

// Ready asks whether the Envoy serves.
func (a Admin) Ready(ctx context.Context) error {
	var info struct{ State string }
	if err := a.get(ctx, "/server_info", &info); err != nil {
		return err
	}
	if info.State != "LIVE" {
		return fmt.Errorf("envoy is %s", info.State)
	}
	return nil
}

// host is what an Envoy's page tells of an endpoint.
type host struct {
	Address struct {
		Socket struct {
			Address string `json:"address"`
		} `json:"socket_address"`
	} `json:"address"`
	Health struct {
		FailedOutlierCheck bool `json:"failed_outlier_check"`
	} `json:"health_status"`
	Stats []struct {
		Name  string          `json:"name"`
		Value json.RawMessage `json:"value"`
	} `json:"stats"`
}

// hosts gives those of a cluster.
func (a Admin) hosts(ctx context.Context, cluster string) (map[netip.Addr]host, error) {
	var page struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []host `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := a.get(ctx, "/clusters?format=json", &page); err != nil {
		return nil, err
	}
	for _, c := range page.Clusters {
		if c.Name != cluster {
			continue
		}
		out := map[netip.Addr]host{}
		for _, h := range c.Hosts {
			addr, err := netip.ParseAddr(h.Address.Socket.Address)
			if err != nil {
				return nil, err
			}
			out[addr] = h
		}
		return out, nil
	}
	return nil, fmt.Errorf("envoy has no cluster %s", cluster)
}

// Ejected gives the hosts of a cluster that its outlier detection has ejected.
func (a Admin) Ejected(ctx context.Context, cluster string) (map[netip.Addr]bool, error) {
	hosts, err := a.hosts(ctx, cluster)
	out := map[netip.Addr]bool{}
	for addr, h := range hosts {
		if h.Health.FailedOutlierCheck {
			out[addr] = true
		}
	}
	return out, err
}

// InFlight gives how many requests each host of a cluster has to answer.
func (a Admin) InFlight(ctx context.Context, cluster string) (map[netip.Addr]int, error) {
	hosts, err := a.hosts(ctx, cluster)
	out := map[netip.Addr]int{}
	for addr, h := range hosts {
		for _, s := range h.Stats {
			if s.Name != "rq_active" {
				continue
			}
			n := strings.Trim(string(s.Value), `"`) // nothing for 0
			if out[addr], err = strconv.Atoi(cmp.Or(n, "0")); err != nil {
				return nil, err
			}
		}
	}
	return out, err
}

// Counter gives a counter or gauge by its name, 0 where nothing was counted.
func (a Admin) Counter(ctx context.Context, name string) (uint64, error) {
	all, err := a.Counters(ctx, "^"+regexp.QuoteMeta(name)+"$")
	return all[name], err
}

// Counters gives those whose names a regular expression is found in.
func (a Admin) Counters(ctx context.Context, names string) (map[string]uint64, error) {
	var page struct {
		Stats []struct {
			Name  string          `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"stats"`
	}
	if err := a.get(ctx, "/stats?format=json&type=All&filter="+url.QueryEscape(names), &page); err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for _, s := range page.Stats {
		if n, err := strconv.ParseUint(string(s.Value), 10, 64); s.Name != "" && err == nil { // texts are none
			out[s.Name] = n
		}
	}
	return out, nil
}

// Config gives what is in force, endpoints included.
func (a Admin) Config(ctx context.Context) (any, error) {
	var page any
	err := a.get(ctx, "/config_dump?include_eds", &page)
	return page, err
}

// Undate takes out of a Config when each of its parts came.
func Undate(v any) {
	switch v := v.(type) {
	case Tree:
		delete(v, "last_updated")
		for _, of := range v {
			Undate(of)
		}
	case List:
		for _, of := range v {
			Undate(of)
		}
	}
}

// Listeners gives where each listener is, by its name.
func (a Admin) Listeners(ctx context.Context) (map[string]netip.AddrPort, error) {
	var page struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := a.get(ctx, "/listeners?format=json", &page); err != nil {
		return nil, err
	}
	out := map[string]netip.AddrPort{}
	for _, s := range page.Statuses {
		addr, err := netip.ParseAddr(s.Local.Socket.Address)
		if err != nil {
			return nil, err
		}
		out[s.Name] = netip.AddrPortFrom(addr, s.Local.Socket.Port)
	}
	return out, nil
}
