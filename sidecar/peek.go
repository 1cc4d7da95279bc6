package sidecar

import (
	"net/netip"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/xds/resource"
)

// peekOutbound is h1.Config.Peek: it knows a connection that nobody looks into
// by where it is going.
func (p *Proxy) peekOutbound(original netip.AddrPort, silent bool, opaque func()) bool {
	return p.knownTCP(original.String(), !silent, opaque)
}

// peekInbound does so for calls to the application: as its sidecar was told,
// or else, where a caller says nothing, as the mesh knows of its service.
func (p *Proxy) peekInbound(original netip.AddrPort, silent bool, opaque func()) bool {
	if p.besideApp(original) || p.cfg.AppProtocol != AppAuto {
		return p.cfg.AppProtocol == AppTCP && !p.besideApp(original)
	}
	return p.knownTCP(p.cfg.ownAuthority(), silent, opaque)
}

// knownTCP reports whether an authority is known to be one that nobody looks
// into. Where it is not known it may be asked for: opaque is called then if it is.
func (p *Proxy) knownTCP(name string, ask bool, opaque func()) bool {
	if a := p.snapshot.lookup([]byte(name)); a != nil {
		return speaksTCP(a)
	}
	if ask {
		p.snapshot.ask(name, func(a *call.Authority) {
			if a != nil && speaksTCP(a) {
				opaque()
			}
		})
	}
	return false
}

// speaksTCP reports whether the endpoints of an authority speak what nobody
// looks into.
func speaksTCP(a *call.Authority) bool {
	r := a.Match([]byte("/"), nil)
	return r != nil && r.Speaks(resource.ProtocolTCP)
}
