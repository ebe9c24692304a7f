package route

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// Facts are what header values may say of a call.
type Facts struct {
	Request *httpx.Request
	// Response is the head of the answer, nil before there is one.
	Response *httpx.Response
	Start    time.Time
	// Client is the app's end of its connection, Dialled where it meant to go, Endpoint what has answered: invalid until then.
	Client, Dialled, Endpoint netip.AddrPort
	Route, Cluster, Hostname  string
}

// value makes a value behind the fields that it is for; nil for no parts. What there is nothing to say of is left out.
func (x *Facts) value(f *httpx.Fields, parts []model.TemplatePart) []byte {
	if parts == nil || x == nil {
		return nil
	}
	dst := f.Scratch(64)
	for i := range parts {
		start := len(dst)
		dst = x.append(dst, &parts[i])
		if limit := parts[i].Limit; limit > 0 {
			dst = dst[:min(len(dst), start+limit)]
		}
	}
	return f.Keep(bytes.Trim(dst, " \t"))
}

// append appends what a part says.
func (x *Facts) append(dst []byte, p *model.TemplatePart) []byte {
	switch p.Op { //nolint:exhaustive // the others are of access logs
	case model.OpText:
		return append(dst, p.Text...)
	case model.OpRequestHeader:
		return append(dst, x.requestHeader(p)...)
	case model.OpResponseHeader:
		if p.Name == ":status" {
			return x.appendStatus(dst)
		}
		return append(dst, x.responseHeader(p)...)
	case model.OpProtocol:
		return append(dst, x.Request.Version.String()...)
	case model.OpResponseCode:
		return x.appendStatus(dst)
	case model.OpStartTime:
		return model.AppendTime(dst, x.Start, p.Times)
	case model.OpRouteName:
		return append(dst, x.Route...)
	case model.OpUpstreamCluster:
		return append(dst, x.Cluster...)
	case model.OpHostname:
		return append(dst, x.Hostname...)
	case model.OpUpstreamAddress, model.OpUpstreamIP, model.OpUpstreamPort:
		return appendAddress(dst, x.Endpoint, p.Op-model.OpUpstreamAddress)
	case model.OpClientAddress, model.OpClientIP, model.OpClientPort:
		return appendAddress(dst, x.Client, p.Op-model.OpClientAddress)
	case model.OpDialledAddress, model.OpDialledIP, model.OpDialledPort:
		return appendAddress(dst, x.Dialled, p.Op-model.OpDialledAddress)
	}
	return dst
}

// appendAddress appends address and port, 1 the address alone, 2 the port alone; nothing of an address that is not known.
func appendAddress(dst []byte, a netip.AddrPort, part model.Operator) []byte {
	switch {
	case !a.IsValid():
		return dst
	case part == 0 || model.SocketPath(a.Addr()) != "":
		return model.AppendAddr(dst, a)
	case part == 1:
		return a.Addr().AppendTo(dst)
	}
	return strconv.AppendUint(dst, uint64(a.Port()), 10)
}

func (x *Facts) requestHeader(p *model.TemplatePart) []byte {
	if value := headerOf(x.Request, p.Name); value != nil || p.Other == "" {
		return value
	}
	return headerOf(x.Request, p.Other)
}

// headerOf gives the first value of a header; the codecs keep some apart.
func headerOf(req *httpx.Request, name string) []byte {
	switch headerOrigins[name] {
	case fromAuthority:
		return req.Authority
	case fromMethod:
		return req.Method
	case fromPath:
		return req.Path
	case fromScheme:
		return schemeOf(req)
	case fromUpgrade:
		return req.Upgrade
	case fromConnection, fromContentLength, fromFields:
	}
	return req.Fields.Get(name)
}

func (x *Facts) responseHeader(p *model.TemplatePart) []byte {
	if x.Response == nil {
		return nil
	}
	if value := x.Response.Fields.Get(p.Name); value != nil || p.Other == "" {
		return value
	}
	return x.Response.Fields.Get(p.Other)
}

// appendStatus appends the status of the answer, 0 before there is one.
func (x *Facts) appendStatus(dst []byte) []byte {
	if x.Response == nil {
		return append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(x.Response.Status), 10)
}
