package registry

import (
	"testing"
	"time"
)

// What one meshd tells the others see while it lives; it is in no Snapshot.
func TestNotices(t *testing.T) {
	etcd := external(t)
	a := open(t, Config{Endpoints: []string{etcd}})
	b := open(t, Config{Endpoints: []string{etcd}})
	defer b.Close()
	mine, theirs := a.Notice(), b.Notice()
	sees := func(want ...string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(15 * time.Second); ; <-tick.C {
			var got []string
			for _, v := range theirs.Others() {
				got = append(got, string(v))
			}
			if len(got) == len(want) && (len(want) == 0 || got[0] == want[0]) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("b sees %q, want %q", got, want)
			}
		}
	}
	tell := func(s string) {
		t.Helper()
		if err := mine.Tell([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	tell("one")
	sees("one")
	tell("two")
	sees("two")
	if n := len(b.Snapshot().Instances); n != 0 {
		t.Errorf("%d instances", n)
	}
	if len(mine.Others()) != 0 {
		t.Error("a sees its own")
	}
	a.Close()
	sees()
}
