package telemetry

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// All that is brought runs once and alone, before whoever brought it goes on.
func TestQueue(t *testing.T) {
	var q queue
	var all sync.WaitGroup
	inside, ran := 0, 0
	for range 50 {
		all.Go(func() {
			for range 200 {
				mine := false
				q.run(func() {
					if inside++; inside != 1 {
						t.Error("two at once")
					}
					ran++
					mine = true
					inside--
				})
				if !mine {
					t.Error("it goes on before its errand is run")
				}
			}
		})
	}
	all.Wait()
	if ran != 10_000 || q.busy || len(q.waiting) > 0 {
		t.Errorf("%d have run; %+v", ran, &q)
	}
}

// In the order in which they come, and nobody runs more than inARow for others.
func TestQueueHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		var all sync.WaitGroup
		var order []int
		begin := time.Now()
		var first time.Duration
		for i := range 2 * inARow {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				q.run(func() {
					time.Sleep(time.Second)
					order = append(order, i)
				})
				if i == 0 {
					first = time.Since(begin)
				}
			})
		}
		all.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("order %v", order)
			}
		}
		if want := (inARow + 1) * time.Second; first != want {
			t.Errorf("the first was busy for %v, want %v", first, want)
		}
	})
}
