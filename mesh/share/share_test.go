package share

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"
)

func sum[N int | float64](m map[string]N) (s N) {
	for _, v := range m {
		s += v
	}
	return s
}

func TestDivide(t *testing.T) {
	for name, c := range map[string]struct {
		total   float64
		demands map[string]float64
		want    map[string]float64
	}{
		"nobody":              {100, nil, map[string]float64{}},
		"nobody has spoken":   {90, map[string]float64{"a": -1, "b": -1, "c": -1}, map[string]float64{"a": 30, "b": 30, "c": 30}},
		"nobody wants any":    {100, map[string]float64{"a": 0, "b": 0}, map[string]float64{"a": 50, "b": 50}},
		"one wants little":    {100, map[string]float64{"a": 20, "b": 500, "c": 900}, map[string]float64{"a": 20, "b": 40, "c": 40}},
		"room is spread":      {100, map[string]float64{"a": 20, "b": 60}, map[string]float64{"a": 25, "b": 75}},
		"floor for the idle":  {100, map[string]float64{"a": 0, "b": 1000}, map[string]float64{"a": 5, "b": 95}},
		"equal for who comes": {100, map[string]float64{"a": 1000, "b": -1}, map[string]float64{"a": 50, "b": 50}},
		"nothing":             {0, map[string]float64{"a": 5}, map[string]float64{"a": 0}},
		"not a number":        {10, map[string]float64{"a": math.NaN(), "b": 100}, map[string]float64{"a": 5, "b": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Divide(c.total, c.demands)
			if !maps.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func randomDemands(rng *rand.Rand) (float64, map[string]float64) {
	d := map[string]float64{}
	for i := range 1 + rng.IntN(20) {
		v := rng.ExpFloat64() * 100
		switch rng.IntN(5) {
		case 0:
			v = 0
		case 1:
			v = -1
		case 2:
			v *= 50
		}
		d[fmt.Sprint("c", i)] = v
	}
	return rng.ExpFloat64() * 1000, d
}

func TestDivideProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		total, demands := randomDemands(rng)
		shares := Divide(total, demands)
		if len(shares) != len(demands) {
			t.Fatalf("%d shares for %d callers", len(shares), len(demands))
		}
		if s := sum(shares); s > total || s < total*(1-1e-9) {
			t.Fatalf("shares of %v add up to %v: %v", total, s, shares)
		}
		equal := total / float64(len(demands))
		for k, d := range demands {
			if d < 0 {
				d = equal
			}
			s := shares[k]
			if s < min(d, equal)*(1-1e-9) {
				t.Fatalf("%s wants %v of %v, its fair share is %v, it gets %v", k, d, total, equal, s)
			}
			if s < Floor*equal*(1-1e-9) {
				t.Fatalf("%s gets %v, below the floor", k, s)
			}
			for other, so := range shares { // max-min: who lacks is not below another
				if s < d*(1-1e-9) && so > max(s, Floor*equal)*(1+1e-9) {
					t.Fatalf("%s wants %v and gets %v while %s gets %v", k, d, s, other, so)
				}
			}
		}
		if again := Divide(total, demands); !maps.Equal(again, shares) {
			t.Fatalf("not the same twice: %v, %v", shares, again)
		}
	}
}

// A demand that changes by a little moves the shares by little: in all at most
// twice the change while the total is wanted, and in proportion else.
func TestDivideIsStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		total, demands := randomDemands(rng)
		before := Divide(total, demands)
		changed := maps.Clone(demands)
		var delta float64
		for k, d := range changed {
			if d > 0 {
				changed[k] = d * 1.01
				delta = d * 0.01
				break
			}
		}
		var moved float64
		for k, s := range Divide(total, changed) {
			moved += math.Abs(s - before[k])
		}
		wanted := 0.0
		equal := total / float64(len(demands))
		for _, d := range demands {
			if d < 0 {
				d = equal
			}
			wanted += max(min(d, total), Floor*equal)
		}
		stretch := max(1, total/wanted) // what nobody wants is spread
		if moved > 2*delta*stretch*(1+1e-6)+1e-6 {
			t.Fatalf("a demand moved by %v, the shares by %v (of %v, %v wanted)", delta, moved, total, wanted)
		}
	}
}

func TestWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		total := rng.IntN(200)
		_, demands := randomDemands(rng)
		shares := Divide(float64(total), demands)
		whole := Whole(total, shares)
		if s, want := sum(whole), max(total, len(demands)); s != want {
			t.Fatalf("%d over %d callers: sum %d: %v of %v", total, len(demands), s, whole, shares)
		}
		for k, n := range whole {
			if n < 1 {
				t.Fatalf("%s is shut out", k)
			}
			if float64(n) > shares[k]+1 && n > 1 {
				t.Fatalf("%s gets %d of %v", k, n, shares[k])
			}
		}
	}
}

// What a caller is offered changes and is measured each second: everybody has
// what is fair within a few divisions, and the whole never exceeds the limit.
func TestConverges(t *testing.T) {
	offered := map[string]float64{"a": 1000, "b": 10, "c": 300}
	demands := map[string]float64{"a": -1, "b": -1, "c": -1}
	for second := range 10 {
		if second == 5 {
			offered["d"], demands["d"] = 1000, -1 // a new caller
			offered["a"] = 20
		}
		shares := Divide(600, demands)
		for k := range demands {
			demands[k] = offered[k] // measured: what came, served or not
		}
		if s := sum(shares); s > 600 {
			t.Fatalf("second %d: %v", second, shares)
		}
		switch second {
		case 4:
			if shares["b"] < 10 || shares["c"] < 289 || shares["a"] < 289 {
				t.Errorf("before: %v", shares)
			}
		case 5:
			if shares["d"] < 140 {
				t.Errorf("a new caller begins with %v of 600 among four", shares["d"])
			}
		case 9:
			if shares["a"] < 19 || shares["c"] < 280 || shares["d"] < 280 {
				t.Errorf("after: %v", shares)
			}
		}
	}
}

func BenchmarkDivide1000(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	demands := map[string]float64{}
	for i := range 1000 {
		demands[fmt.Sprint("caller-", i)] = rng.ExpFloat64()
	}
	for b.Loop() {
		Divide(500, demands)
	}
}
