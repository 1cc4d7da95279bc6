package health

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// A sample is what came of an endpoint's calls in an interval.
type sample struct {
	successes, failures uint64
	mean                time.Duration // of the successes
}

func (s *sample) calls() uint64 { return s.successes + s.failures }

// rate of successes; there have been calls.
func (s *sample) rate() float64 { return float64(s.successes) / float64(s.calls()) }

// A finding is an endpoint that does worse than the others.
type finding struct {
	index int
	rule  Rule
	bad   float64 // to compare the findings of a rule
	cause string
}

// compare applies the rules that go by an interval. The findings are by rule,
// and by each the worst first; an endpoint is found once.
func compare(cfg *resource.Outlier, samples []sample) []finding {
	found := slices.Concat(successRates(cfg, samples), percentages(cfg, samples), latencies(cfg, samples))
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(b.bad, a.bad))
	})
	seen := map[int]bool{}
	return slices.DeleteFunc(found, func(f finding) bool {
		was := seen[f.index]
		seen[f.index] = true
		return was
	})
}

// with are the samples of so many calls, if there are as many as hosts.
func with(samples []sample, volume, hosts uint32, of func(*sample) uint64) []int {
	var out []int
	for i := range samples {
		if n := of(&samples[i]); n > 0 && n >= uint64(volume) {
			out = append(out, i)
		}
	}
	if len(out) < int(hosts) {
		return nil
	}
	return out
}

// successRates finds rates below mean − StdevFactor × standard deviation
// (OutlierDetection.success_rate_*). By that alone, among ten endpoints one
// with a single failure, where the others had none, would be out; so it also
// has to be more failures than chance would give it at the others' rate.
func successRates(cfg *resource.Outlier, samples []sample) (found []finding) {
	if cfg.StdevFactor <= 0 {
		return nil
	}
	in := with(samples, cfg.SuccessVolume, cfg.SuccessHosts, (*sample).calls)
	if len(in) < 2 {
		return nil
	}
	var sum, squares float64
	var all sample
	for _, i := range in {
		sum += samples[i].rate()
		all.successes += samples[i].successes
		all.failures += samples[i].failures
	}
	mean := sum / float64(len(in))
	for _, i := range in {
		d := samples[i].rate() - mean
		squares += d * d
	}
	least := mean - cfg.StdevFactor*math.Sqrt(squares/float64(len(in)))
	for _, i := range in {
		s := &samples[i]
		if others := (sample{all.successes - s.successes, all.failures - s.failures, 0}); s.rate() < least && !chance(s, &others) {
			found = append(found, finding{i, RuleSuccessRate, 1 - s.rate(), fmt.Sprintf(
				"%.1f %% of %d calls failed, of the others' %.1f %%",
				100*(1-s.rate()), s.calls(), 100*(1-others.rate()))})
		}
	}
	return found
}

// chance reports whether so many failures may well be, for calls of which as
// many fail as the others': up to four standard deviations more, and two. Many
// endpoints are looked at many times, and few failures scatter wider than that.
func chance(s, others *sample) bool {
	p := float64(others.failures+1) / float64(others.calls()+2)
	n := float64(s.calls())
	return float64(s.failures) <= n*p+4*math.Sqrt(n*p*(1-p))+2
}

// percentages finds endpoints of which as much as Percentage of the calls
// failed (OutlierDetection.failure_percentage_*), unless that is true of most
// of them: then the cause is a common one, and whoever is out leaves more for
// the rest.
func percentages(cfg *resource.Outlier, samples []sample) (found []finding) {
	if cfg.Percentage <= 0 {
		return nil
	}
	in := with(samples, cfg.PercentageVolume, cfg.PercentageHosts, (*sample).calls)
	for _, i := range in {
		if s := &samples[i]; 1-s.rate() >= cfg.Percentage {
			found = append(found, finding{i, RuleFailures, 1 - s.rate(), fmt.Sprintf(
				"%.1f %% of %d calls failed", 100*(1-s.rate()), s.calls())})
		}
	}
	if len(found) > len(in)/2 {
		return nil
	}
	return found
}

const (
	// fewestLatencies are endpoints without which there is no median of others.
	fewestLatencies = 3
	// leastLatency is a difference that the scheduling of a busy machine makes.
	leastLatency = time.Millisecond
)

// latencies finds endpoints whose mean latency is LatencyFactor times the
// median of the others' means.
func latencies(cfg *resource.Outlier, samples []sample) (found []finding) {
	if cfg.LatencyFactor <= 0 {
		return nil
	}
	in := with(samples, cfg.SuccessVolume, fewestLatencies, func(s *sample) uint64 { return s.successes })
	means := make([]time.Duration, len(in))
	for k, i := range in {
		means[k] = samples[i].mean
	}
	slices.Sort(means)
	for _, i := range in {
		own := samples[i].mean
		at, _ := slices.BinarySearch(means, own)
		if others := medianWithout(means, at); float64(own) >= cfg.LatencyFactor*float64(others) && own-others >= leastLatency {
			found = append(found, finding{i, RuleLatency, float64(own), fmt.Sprintf(
				"%v of latency, the others' %v", own.Round(10*time.Microsecond), others.Round(10*time.Microsecond))})
		}
	}
	return found
}

// medianWithout is the median of sorted values, of which there are two at
// least, but for the one at i; the lower of two.
func medianWithout(sorted []time.Duration, i int) time.Duration {
	m := (len(sorted) - 2) / 2
	if m >= i {
		m++
	}
	return sorted[m]
}
