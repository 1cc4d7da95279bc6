package main

import (
	"os"
	"sync"
	"testing"
	"time"
)

// What the kernel says in its three places is the same, whoever of the
// process's threads had the time.
func TestUsage(t *testing.T) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
			}
		})
	}
	wg.Wait()
	after, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	u := after.since(before)
	if err := u.check(); err != nil || u.clock < 10*time.Millisecond {
		t.Errorf("%+v: %v", u, err)
	}
	if rss, peak, err := memoryOf(os.Getpid()); err != nil || rss < 1e6 || peak < rss {
		t.Errorf("RSS %d, peak %d, %v", rss, peak, err)
	}
}

func TestUsageDisagrees(t *testing.T) {
	for _, u := range []usage{
		{time.Second, time.Second, 2 * time.Second},
		{time.Second, 2 * time.Second, time.Second},
	} {
		if u.check() == nil {
			t.Errorf("%+v: no error", u)
		}
	}
	if err := (usage{time.Second, time.Second / 2, time.Second}).check(); err != nil {
		t.Errorf("with ended threads: %v", err)
	}
}

func TestParseProc(t *testing.T) {
	if d, err := parseSchedstat("123456 789 10\n"); d != 123456 || err != nil {
		t.Errorf("%v, %v", d, err)
	}
	stat := "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1 2 3"
	if d, err := parseStat(stat); d != 2*time.Second || err != nil {
		t.Errorf("%v, %v", d, err)
	}
	rss, peak, err := parseStatus([]byte("Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n"))
	if rss != 1000*1024 || peak != 2000*1024 || err != nil {
		t.Errorf("%d, %d, %v", rss, peak, err)
	}
	for _, bad := range []string{"", "x", "VmRSS: 1 MB\nVmHWM: 2 kB\n", "Name: zombie\n", "7 (x) S 1 2", "7 (x) S 1 7 7 0 -1 4 1 0 0 0 a b"} {
		_, err1 := parseSchedstat("x" + bad)
		_, err2 := parseStat(bad)
		_, _, err3 := parseStatus([]byte(bad))
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%q: %v, %v, %v", bad, err1, err2, err3)
		}
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add("123 4 5")
	f.Add("7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0")
	f.Add("VmHWM:\t2 kB\nVmRSS:\t1 kB\n")
	f.Fuzz(func(t *testing.T, s string) {
		parseSchedstat(s)
		parseStat(s)
		parseStatus([]byte(s))
	})
}
