package client

import "time"

// brakeFor is how long the second refusal of the same thing is held back.
const brakeFor = time.Second

// A brake slows down control planes that answer a NACK at once with what was
// refused, thousands of times a second: from the second time on, the answer
// waits.
type brake struct {
	timer *time.Timer
	last  [kinds]string // what was refused last, on this stream
	held  [kinds]*response
}

// hold says whether the answer to r is held back. Whatever was held back of
// its type is overtaken.
func (b *brake) hold(k kind, r response, refusal string) bool {
	b.held[k] = nil
	if refusal == "" || refusal != b.last[k] {
		b.last[k] = refusal
		return false
	}
	b.held[k] = &response{nonce: r.nonce, version: r.version}
	b.timer.Reset(brakeFor)
	return true
}

// release gives the answers that were held back.
func (b *brake) release(p protocol) {
	for k, r := range b.held {
		if r != nil {
			p.answer(kind(k), *r, b.last[k])
		}
	}
	b.held = [kinds]*response{}
}

func (b *brake) reset() {
	b.timer.Stop()
	b.last, b.held = [kinds]string{}, [kinds]*response{}
}
