package scale

import (
	"strings"
	"testing"
	"time"
)

const millisecond = time.Millisecond

func seconds(n int, s Second) []Second {
	out := make([]Second, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestInstances(t *testing.T) {
	one := Target{Workers: 1, Utilization: 0.7, Min: 1, Max: 16}
	calm := Second{Rate: 100, Own: 5 * millisecond}
	for name, c := range map[string]struct {
		target  Target
		seconds []Second
		want    int
	}{
		"nothing is known":                      {one, nil, 1},
		"no calls":                              {Target{Workers: 1, Utilization: 0.7, Min: 3, Max: 9}, make([]Second, 5), 3},
		"half a worker":                         {one, seconds(5, calm), 1},
		"the edge, with slack":                  {one, seconds(5, Second{Rate: 147, Own: 5 * millisecond}), 1},
		"over it":                               {one, seconds(5, Second{Rate: 160, Own: 5 * millisecond}), 2},
		"two and a half workers at 70 %":        {one, seconds(5, Second{Rate: 500, Own: 5 * millisecond}), 4},
		"the same, four workers in an instance": {Target{Workers: 4, Utilization: 0.7, Min: 1, Max: 16}, seconds(5, Second{Rate: 500, Own: 5 * millisecond}), 1},
		"never more than the most":              {one, seconds(5, Second{Rate: 50_000, Own: 5 * millisecond}), 16},
		// The work of a call is what it took when none waited: 200 a second keep
		// one worker busy, however long they take.
		"calls wait in the application":   {one, append(seconds(5, calm), seconds(2, Second{Rate: 200, Own: 55 * millisecond})...), 2},
		"and before it":                   {one, append(seconds(5, calm), seconds(2, Second{Rate: 200, Own: 5 * millisecond, Queued: 50 * millisecond})...), 2},
		"many have waited for an outage":  {one, append(seconds(5, calm), seconds(2, Second{Rate: 200, Own: 2000 * millisecond})...), 5},
		"load that is over":               {one, append(seconds(5, Second{Rate: 700, Own: 5 * millisecond}), seconds(2, calm)...), 1},
		"a second without calls is no 0":  {one, append(seconds(5, calm), Second{}, calm), 1},
		"only the newest seconds, if few": {one, seconds(1, Second{Rate: 300, Own: 5 * millisecond}), 3},
	} {
		if got := c.target.Instances(c.seconds); got.Instances != c.want {
			t.Errorf("%s: %d instances, want %d: %s", name, got.Instances, c.want, got.Why)
		}
	}
}

// The decision says what it goes by.
func TestWhy(t *testing.T) {
	got := Target{Workers: 1, Utilization: 0.7, Min: 1, Max: 16}.Instances(seconds(5, Second{Rate: 500, Own: 5 * millisecond}))
	for _, part := range []string{"500 calls/s", "5 ms work", "2.50 workers", "70 %", "that is 4"} {
		if !strings.Contains(got.Why, part) {
			t.Errorf("%q: want %q in it", got.Why, part)
		}
	}
}
