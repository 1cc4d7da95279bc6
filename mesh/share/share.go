// Package share divides a limit that is meant for a whole service over its
// callers: calls a second, or calls at once. It is arithmetic; meshd runs it
// when callers or their demands change, and sends each caller its share, so
// that a mesh-wide limit costs no hop.
package share

import (
	"cmp"
	"slices"
)

// Floor is the part of an equal share that a caller keeps whatever it has been
// asking for, so that one that wakes, or has just come, can ask for more.
const Floor = 0.1

// Divide gives each caller of a limit its share. demands is what each has
// lately wanted, served or not, in the limit's unit; a caller that has said
// nothing yet has a negative one and counts as wanting an equal share.
//
// The shares are max-min fair: none gets more than it wants while another
// wants more than it gets, and those who are not satisfied get the same. What
// nobody wants is spread: first each share is raised to Floor of an equal
// one, then the rest goes to all in proportion to their shares, since demand
// as measured is what has been, and the next second's may be more. So the
// shares always add up to total (to within rounding, never above), and an equal share is what everybody has when nobody has spoken.
//
// A demand that changes by d moves no other share by more than d, apart from
// what is spread.
func Divide[K cmp.Ordered](total float64, demands map[K]float64) map[K]float64 {
	shares := make(map[K]float64, len(demands))
	if len(demands) == 0 {
		return shares
	}
	if total <= 0 {
		for k := range demands {
			shares[k] = 0
		}
		return shares
	}
	type caller struct {
		key  K
		want float64
	}
	equal := total / float64(len(demands))
	callers := make([]caller, 0, len(demands))
	for k, d := range demands {
		if d < 0 || d != d { // says nothing, or is no number
			d = equal
		}
		callers = append(callers, caller{k, max(min(d, total), Floor*equal)})
	}
	// By want, so that filling is one pass; by key, so that every meshd adds
	// up in the same order and gives the same to the last bit.
	slices.SortFunc(callers, func(a, b caller) int {
		return cmp.Or(cmp.Compare(a.want, b.want), cmp.Compare(a.key, b.key))
	})
	left := total
	for i, c := range callers {
		got := min(c.want, left/float64(len(callers)-i))
		shares[c.key] = got
		left -= got
	}
	// A little less than the rest, so that no order of adding up exceeds it.
	stretch := total / (total - left) * (1 - 1e-12)
	for k := range shares {
		shares[k] *= stretch
	}
	return shares
}

// Whole turns shares into whole numbers that are 1 or more each, for caps on
// calls at once, of which a fraction lets nobody in. The sum is at most the
// greater of total and the number of callers: a cap smaller than its callers
// cannot be divided, and is then exceeded rather than shut to some.
func Whole[K cmp.Ordered](total int, shares map[K]float64) map[K]int {
	type part struct {
		key  K
		rest float64
	}
	whole := make(map[K]int, len(shares))
	parts := make([]part, 0, len(shares))
	left := total
	for k, s := range shares {
		n := max(1, int(s))
		whole[k] = n
		left -= n
		parts = append(parts, part{k, s - float64(n)})
	}
	slices.SortFunc(parts, func(a, b part) int { // the greatest remainder first
		return cmp.Or(cmp.Compare(b.rest, a.rest), cmp.Compare(a.key, b.key))
	})
	for ; left > 0 && len(parts) > 0; left-- { // less than one a caller
		whole[parts[0].key]++
		parts = parts[1:]
	}
	for left < 0 { // some were raised to 1: the greatest give
		k, most := largest(whole)
		if most <= 1 {
			break
		}
		whole[k]--
		left++
	}
	return whole
}

func largest[K cmp.Ordered](m map[K]int) (key K, most int) {
	for k, n := range m {
		if n > most || n == most && k < key {
			key, most = k, n
		}
	}
	return key, most
}
