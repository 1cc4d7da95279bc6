package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Against a bucket that is filled with floating point as the words say.
func TestBucketIsATokenBucket(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 9))
		rate, burst := rng.ExpFloat64()*1000+0.1, 1+rng.ExpFloat64()*20
		b := NewBucket(rate, burst)
		now, tokens, last := int64(1e9), burst, int64(1e9)
		for i := range 2000 {
			now += int64(rng.ExpFloat64() / rate * 0.7e9)
			tokens = min(burst, tokens+float64(now-last)*rate/1e9)
			last = now
			ok, wait := b.Take(now)
			if near := tokens - 1; near > -0.01 && near < 0.01 {
				if ok {
					tokens--
				}
				continue // rounding decides
			}
			if ok != (tokens >= 1) {
				t.Fatalf("seed %d step %d: %v with %v tokens", seed, i, ok, tokens)
			}
			if ok {
				tokens--
				continue
			}
			if want := (1 - tokens) / rate * 1e9; float64(wait) < want*0.99-2000 || float64(wait) > want*1.01+2000 {
				t.Fatalf("seed %d step %d: wait %d, want %v", seed, i, wait, want)
			}
		}
	}
}

func TestBucketSet(t *testing.T) {
	b := NewBucket(10, 10)
	for range 10 {
		if ok, _ := b.Take(1); !ok {
			t.Fatal("the burst")
		}
	}
	b.Set(1000, 1000)
	n := 0
	for ok := true; ok; n++ {
		ok, _ = b.Take(int64(500 * time.Millisecond))
	}
	if n > 502 {
		t.Errorf("%d tokens within half a second of a change to 1000/s: an emptied bucket was full again", n)
	}
	b.Set(0, 1)
	if ok, _ := b.Take(int64(20 * time.Second)); !ok {
		t.Error("the burst of a rate of 0")
	}
	if ok, _ := b.Take(int64(20000 * time.Hour)); ok {
		t.Error("a rate of 0 gave a second token")
	}
}

func TestBucketContended(t *testing.T) {
	b := NewBucket(1, 100)
	var granted atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if ok, _ := b.Take(5e9); ok {
					granted.Add(1)
				}
			}
		})
	}
	group.Wait()
	if granted.Load() != 100 || b.Refused() != 700 {
		t.Fatalf("%d of 100 tokens, %d refused", granted.Load(), b.Refused())
	}
}
