package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// A record is one call. Times are from the beginning of the load.
type record struct {
	Due      time.Duration // when it was to be made
	Latency  time.Duration // from then to its end
	Err      string        // why it failed; empty if it did not
	Status   int           // HTTP's; 0 without an answer
	Instance string        // who answered
	Class    int           // of the load's, see load.Headers
	Begun    bool          // the first message of a stream had come
	Cookie   string        // that the answer set, name and value
}

// A result is all calls of a load, by when they were due.
type result []record

// where keeps some of the calls.
func (r result) where(keep func(record) bool) result {
	var out result
	for _, c := range r {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

// between keeps those that were due in [from, to).
func (r result) between(from, to time.Duration) result {
	return r.where(func(c record) bool { return c.Due >= from && c.Due < to })
}

// ok keeps those that succeeded.
func (r result) ok() result { return r.where(func(c record) bool { return c.Err == "" }) }

func (r result) failed() int { return len(r) - len(r.ok()) }

// success is the share of calls that did, in percent; NaN without calls.
func (r result) success() float64 { return percent(len(r.ok()), len(r)) }

func percent(n, of int) float64 {
	if of == 0 {
		return math.NaN()
	}
	return 100 * float64(n) / float64(of)
}

// quantile is the latency, in milliseconds, that a share q of the calls had at
// most; NaN without calls. Failed calls took what they took.
func (r result) quantile(q float64) float64 {
	if len(r) == 0 {
		return math.NaN()
	}
	all := make([]time.Duration, len(r))
	for i, c := range r {
		all[i] = c.Latency
	}
	slices.Sort(all)
	i := int(math.Ceil(q*float64(len(all)))) - 1
	return float64(all[max(i, 0)]) / float64(time.Millisecond)
}

// recovered is how long after the moment from, within the load, it took until
// 98 % of the calls due in two seconds succeeded, those two seconds included;
// +Inf if that never was.
func (r result) recovered(from time.Duration) time.Duration {
	const window, step = 2 * time.Second, 100 * time.Millisecond
	if len(r) == 0 {
		return math.MaxInt64
	}
	last := r[len(r)-1].Due
	for at := from; at+window <= last+step; at += step {
		if w := r.between(at, at+window); len(w) > 0 && w.success() >= 98 {
			return at + window - from
		}
	}
	return math.MaxInt64
}

// seconds is a duration for a table; MaxInt64 is never.
func seconds(d time.Duration) float64 {
	if d == math.MaxInt64 {
		return math.Inf(1)
	}
	return d.Seconds()
}

// causes are the reasons of failure, the most frequent first.
func (r result) causes() string {
	n := map[string]int{}
	for _, c := range r {
		if c.Err != "" {
			n[c.Err]++
		}
	}
	all := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	})
	var out []string
	for i, c := range all {
		if i == 4 {
			out = append(out, fmt.Sprintf("and %d reasons more", len(all)-i))
			break
		}
		out = append(out, fmt.Sprintf("%d × %s", n[c], c))
	}
	return strings.Join(out, "; ")
}
