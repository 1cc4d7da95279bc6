package h2

// How a stream ended.
const (
	closedInOrder uint64 = iota // both sides had said their last
	closedByUs                  // we reset it: frames under way to us are no error
	closedByPeer
)

// idsKept is how many streams that ended are remembered.
const idsKept = 256

// closedIDs remembers how the last streams of a connection ended, to tell a
// frame that crossed ours from one that breaks the rules.
type closedIDs struct {
	ids  []uint64 // id<<2 | how
	next int
	lost uint32 // the highest that was forgotten
}

func (r *closedIDs) add(id uint32, how uint64) {
	v := uint64(id)<<2 | how
	if len(r.ids) < idsKept {
		r.ids = append(r.ids, v)
		return
	}
	r.lost = max(r.lost, uint32(r.ids[r.next]>>2))
	r.ids[r.next] = v
	r.next = (r.next + 1) % idsKept
}

func (r *closedIDs) find(id uint32) (how uint64, known bool) {
	for _, v := range r.ids {
		if v>>2 == uint64(id) {
			return v & 3, true
		}
	}
	return 0, false
}

// complete reports whether a stream of this id that had ended would be known.
func (r *closedIDs) complete(id uint32) bool { return id > r.lost }
