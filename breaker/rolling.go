package breaker

import "sync/atomic"

// rolling counts events per tick of a clock over the last len(r) ticks,
// without locks. Each slot holds the tick that it counts for in its upper 32
// bits and the count in its lower; a slot is taken over by the tick that comes
// len(r) later. Ticks wrap after 2³², which only asks that no slot sleeps for
// exactly that long.
type rolling []atomic.Uint64

const countMask = 1<<32 - 1

// add counts one event at tick. An event that comes so late that its slot
// belongs to a younger tick is outside the window and dropped.
func (r rolling) add(tick uint32) {
	slot := &r[tick%uint32(len(r))]
	for {
		v := slot.Load()
		next := uint64(tick)<<32 | 1
		switch ahead := int32(tick - uint32(v>>32)); {
		case ahead == 0 && v&countMask == countMask, ahead < 0:
			return
		case ahead == 0:
			next = v + 1
		}
		if slot.CompareAndSwap(v, next) {
			return
		}
	}
}

// undo takes back one add at tick, if the window still holds it.
func (r rolling) undo(tick uint32) {
	slot := &r[tick%uint32(len(r))]
	for {
		v := slot.Load()
		if uint32(v>>32) != tick || v&countMask == 0 || slot.CompareAndSwap(v, v-1) {
			return
		}
	}
}

// sum is the count of the last n ticks, tick included; n is at most len(r).
func (r rolling) sum(tick uint32, n int) (total uint64) {
	for i := range r {
		v := r[i].Load()
		if tick-uint32(v>>32) < uint32(n) {
			total += v & countMask
		}
	}
	return total
}
