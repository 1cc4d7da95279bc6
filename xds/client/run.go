package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A loop is the state of Run.
type loop struct {
	*Client
	g       *graph
	proto   protocol
	session *session
	up      bool
	first   bool   // the stream's first request is still to be sent
	request []byte // ready to be sent
	failed  int    // streams in a row without a response
	outage  bool   // was logged
	saver   *saver
	brake   brake
}

// maxRefusal bounds the text of a NACK, in bytes.
const maxRefusal = 4 << 10

// Run follows what is watched until ctx ends, and then returns nil; all its
// goroutines have ended. It fails only where it cannot start. It is called
// once.
func (c *Client) Run(ctx context.Context) error {
	cc, err := dial(c.cfg)
	if err != nil {
		return err
	}
	defer cc.Close()
	l := &loop{Client: c, saver: newSaver(c.cfg), brake: brake{timer: stoppedTimer()}}
	defer func() { l.saver.close(l.g) }()
	l.proto = &delta{}
	if c.cfg.Protocol == SotW {
		l.proto = &sotw{}
	}
	l.g = newGraph(c.cfg, l.proto)
	l.proto.reset(l.g)
	l.restore()

	l.session = open(ctx, cc, l.proto.method())
	retry := stoppedTimer()
	expiry := stoppedTimer()
	defer retry.Stop()
	defer expiry.Stop()
	defer l.brake.timer.Stop()
	for {
		l.applyChanges()
		l.g.settle()
		l.saver.note(l.g)
		if len(l.g.unexpired) > 0 {
			expiry.Reset(time.Until(l.g.unexpired[0].at))
		}
		var opened <-chan struct{}
		var in <-chan []byte
		var down <-chan error
		var out chan<- []byte
		if l.session != nil {
			down = l.session.down
			if l.up {
				in = l.session.in
				if out = l.sendable(); out != nil {
					out = l.session.out
				}
			} else {
				opened = l.session.up
			}
		}
		select {
		case <-ctx.Done():
			if l.session != nil {
				l.session.close()
			}
			return nil
		case <-c.wake:
		case <-opened:
			l.connected()
		case b := <-in:
			if err := l.receive(b); err != nil {
				l.cfg.Logger.Warn("control plane does not speak xDS", "addr", l.cfg.Addr, "err", err,
					"next", "--meshd has to be the address of meshd's --xds-addr")
				l.session.cancel()
			}
		case out <- l.request:
			l.request = nil
		case err := <-down:
			l.disconnected(err)
			retry.Reset(retryDelay(l.failed))
			l.failed++
		case <-retry.C:
			l.session = open(ctx, cc, l.proto.method())
		case now := <-expiry.C:
			l.g.expire(now)
		case <-l.brake.timer.C:
			l.brake.release(l.proto)
		case <-l.saver.due():
			l.saver.write(l.g)
		case err := <-l.saver.done:
			l.saver.written(err)
		}
	}
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// sendable returns the stream's channel if there is a request to send.
func (l *loop) sendable() chan<- []byte {
	if l.request == nil {
		l.request = l.proto.next(l.takeNode(l.first))
		l.first = false
	}
	if l.request == nil {
		return nil
	}
	return l.session.out
}

func (l *loop) applyChanges() {
	for _, ch := range l.takeChanges() {
		if ch.add {
			l.g.watch(ch.authority)
		} else {
			l.g.unwatch(ch.authority)
		}
	}
}

func (l *loop) connected() {
	l.up, l.first, l.request, l.outage = true, true, nil, false
	l.proto.reset(l.g)
	l.g.connect(time.Now())
	l.cfg.Logger.Info("connected to the control plane", "addr", l.cfg.Addr)
	l.cfg.Events.Connected(true)
}

func (l *loop) disconnected(err error) {
	l.session = nil
	if !l.outage {
		l.outage = true
		l.cfg.Logger.Warn("no stream to the control plane; what is known stays in force", "addr", l.cfg.Addr, "err", err,
			"next", "see that meshd runs and that --meshd is its address; it is tried again")
	}
	if !l.up {
		return
	}
	l.up, l.request = false, nil
	l.brake.reset()
	l.g.disconnect()
	l.cfg.Events.Connected(false)
}

// receive takes one response: what is good in it is applied, what is bad is
// named in the refusal of the whole.
func (l *loop) receive(b []byte) error {
	r, err := l.proto.parse(b)
	if err != nil {
		return err
	}
	k := kindOf(r.typeURL)
	if k == kinds {
		return fmt.Errorf("response of type %q, which was not asked for", r.typeURL)
	}
	var bad []error
	present := set{}
	for _, res := range r.resources {
		present.add(res.name)
		if res.typeURL != r.typeURL {
			bad = append(bad, fmt.Errorf("resource %q of type %q in a response of type %q", res.name, res.typeURL, r.typeURL))
			continue
		}
		if err := l.g.update(k, res.name, res.version, res.value); err != nil {
			bad = append(bad, err)
		}
	}
	for _, name := range r.removed {
		l.g.absent(k, name)
	}
	if l.proto.whole(k) {
		for name := range l.g.entries[k] {
			if !present.has(name) {
				l.g.missing(k, name)
			}
		}
	}
	refusal := ""
	if len(bad) > 0 {
		refusal = strings.ToValidUTF8(errors.Join(bad...).Error(), "\uFFFD")
		if len(refusal) > maxRefusal {
			refusal = strings.ToValidUTF8(refusal[:maxRefusal], "") + "…"
		}
	}
	l.failed = 0
	if l.brake.hold(k, r, refusal) {
		return nil
	}
	if refusal != "" {
		l.cfg.Logger.Warn("refused configuration; the last good one stays", "type", k.String(), "version", r.version, "err", refusal,
			"next", "change the object behind it, which meshctl status names, or update the sidecar")
	}
	l.proto.answer(k, r, refusal)
	return nil
}

func kindOf(typeURL string) kind {
	for k := range kinds {
		if typeURLs[k] == typeURL {
			return k
		}
	}
	return kinds
}
