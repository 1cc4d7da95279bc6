package telemetry

import (
	"cmp"
	"fmt"
	"slices"
)

// weightLife is how many slots a caller's word on an instance's weight counts:
// sidecars repeat it every 10 s, and twice that where many others change.
const weightLife = 30

// unnamed is how many slots after which an instance is nobody's endpoint any
// more: callers name those that they do not call every 10 s (tracing/sparse.go).
const unnamed = 15

// A weight is what a caller aims at of an instance: the part of its calls to
// the service, 0 to 1, as of its last word.
type weight struct {
	caller uint32 // reporter.number
	slot   uint32 // of that word
	part   float32
}

// takeWeight takes a point of meshd.endpoint.weight. It makes no series, of
// which there would be one for each caller and endpoint, since most of them are
// silent most of the time: the attributes lead to the instance, the same ones
// for all callers. Needs s.mu.
func (s *Store) takeWeight(r *reporter, p *point) error {
	if !(p.value >= 0 && p.value <= 1) {
		s.stats.Invalid++
		return fmt.Errorf("value %v: want a part of a caller's calls, 0 to 1", p.value)
	}
	if len(r.series) == 0 { // nor is it among the reporters, which are bounded
		return nil
	}
	in := s.weighed[p.key]
	if in == nil || in.gone {
		a, err := p.attributes()
		key := cmp.Or(a.id, a.address)
		if err != nil || key == "" || noService(a.service) {
			return err
		}
		port, err := s.port(a.service)
		if err != nil || s.cur < port.service.tryAgain {
			return err
		}
		if in = s.instance(port.service, key, a.address); in == nil {
			return nil // counted; it is not told apart
		}
		if len(s.weighed) >= 4*s.cfg.MaxInstances { // it only saves looking
			clear(s.weighed)
		}
		s.weighed[p.key] = in
	}
	in.named = s.cur
	if r.number == 0 {
		s.numbered++
		r.number = s.numbered
	}
	s.stats.Points++
	w := weight{r.number, uint32(s.cur), float32(p.value)}
	at, found := slices.BinarySearchFunc(in.weights, w.caller, func(w weight, caller uint32) int { return cmp.Compare(w.caller, caller) })
	if found {
		in.weights[at] = w
	} else {
		in.weights = slices.Insert(in.weights, at, w)
	}
	return nil
}

// weigh is instFigures.weight of now.
func (in *instance) weigh(cur int64) float32 {
	if cur-in.named > unnamed {
		in.weights = nil
	}
	in.weights = slices.DeleteFunc(in.weights, func(w weight) bool { return uint32(cur)-w.slot > weightLife })
	if len(in.weights) == 0 {
		return 0
	}
	var sum float64
	for _, w := range in.weights {
		sum += float64(w.part)
	}
	return float32(1 + sum/float64(len(in.weights)))
}
