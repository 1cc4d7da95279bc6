package main

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// sessionCookie and sessionHeader are what sessions go by.
const (
	sessionCookie = "shop-session"
	sessionHeader = "x-user"
)

func sessionsScenario() scenario {
	return scenario{
		name:    "sessions",
		title:   "sessions whose instance changes when 10 instances become 11; elsewhere: not to the new one",
		seconds: 1,
		columns: []column{figure("sessions", ""), figure("moved", "%"), figure("wanted", "%"),
			atMost("of wanted", "x", 1), figure("elsewhere", "")},
		run: func(r *run) []row {
			if r.proxy == off { // it has none
				return nil
			}
			const cookies, hashes = 500, 3000
			hash := meshSpec{
				policy: object{"balancer": "ring_hash", "hash": object{"by": []object{{"header": sessionHeader}}}},
				envoy:  envoySpec{HashHeader: sessionHeader},
			}
			cookie := meshSpec{policy: object{"session": object{"cookie": sessionCookie}}, envoy: envoySpec{Cookie: sessionCookie}}
			return []row{
				r.sessions("cookie", cookies, cookie, 0),
				r.sessions("hash", hashes, hash, 100.0/11),
			}
		},
	}
}

// sessions begins n of them, adds an instance, and goes on with them.
func (r *run) sessions(name string, n int, spec meshSpec, want float64) (out row) {
	out = row{Proxy: r.proxy, Case: name}
	r.within(name, func(s *scope) {
		host := s.host(backendSpec{names: names(service, 11)})
		st := s.up(r.proxy, spec, host.all[:10])
		has := make([]string, n) // each session's cookie
		l := loadOf(st, 0, 0)
		l.Headers = func(i int) (string, int) {
			lines := fmt.Sprintf("%s: user-%d\r\n", sessionHeader, i)
			if has[i] != "" {
				lines += "Cookie: " + has[i] + "\r\n"
			}
			return lines, 0
		}
		first := l.each(n, 1)
		for i, c := range first {
			has[i] = c.Cookie
		}
		st.add(host.all[10], true)
		s.awaitCalls(l, host.all[10:])
		moved, elsewhere, failed := 0, 0, 0
		for i, c := range l.each(n, 1) {
			switch {
			case c.Err != "" || first[i].Err != "":
				failed++
			case c.Instance != first[i].Instance:
				moved++
				if c.Instance != host.all[10].name {
					elsewhere++
				}
			}
		}
		share := percent(moved, n)
		if name == "cookie" && first[0].Cookie == "" {
			share = math.NaN()
			out.Note = "no cookie was set"
		} else if failed > 0 {
			out.Note = fmt.Sprintf("%d calls failed", failed)
		}
		ratio := share / want
		if want == 0 && share == 0 {
			ratio = 0
		}
		out.Values = values(float64(n), share, want, ratio, float64(elsewhere))
	})
	return out
}

// each makes n calls, some at a time, and returns them in order.
func (l load) each(n, atOnce int) result {
	l.Patience = 5 * time.Second
	if l.Path == "" {
		l.Path = "/"
	}
	h := newHTTP(l)
	defer h.close()
	all := make(result, n)
	var wg sync.WaitGroup
	for k := range atOnce {
		wg.Go(func() {
			for i := k; i < n; i += atOnce {
				h.call(i, &all[i])
			}
		})
	}
	wg.Wait()
	return all
}

func slowStartScenario() scenario {
	return scenario{
		name:    "slowstart",
		title:   "calls that a new 11th instance gets, of what is its part; another one leaves 5 s after it came",
		seconds: 16,
		columns: []column{
			figure("calls", ""), atMost("failed", "", 0), atMost("second 1", "%", 75), figure("second 3", "%"),
			figure("second 6", "%"), figure("second 9", "%"), atLeast("after 10 s", "%", 75),
		},
		run: func(r *run) []row {
			host := r.host(backendSpec{names: names(service, 11), behaviour: work})
			st := r.up(r.proxy, meshSpec{}, host.all[:10])
			joins := time.Second
			res := r.during(loadOf(st, 400, joins+r.length), []step{
				{joins, func() { st.add(host.all[10], false) }},
				{joins + 5*time.Second, func() { st.drain(host.all[2]) }},
			})
			from := res.first(host.all[10].name)
			part := func(a, b time.Duration) float64 {
				w := res.between(from+a, from+b)
				got := w.where(func(c record) bool { return c.Instance == host.all[10].name })
				instances := 11
				if a >= 5*time.Second {
					instances = 10
				}
				return percent(len(got)*instances, len(w))
			}
			s := time.Second
			return []row{{Proxy: r.proxy, Note: res.causes(), Values: values(float64(len(res)), float64(res.failed()),
				part(0, s), part(2*s, 3*s), part(5*s, 6*s), part(8*s, 9*s), part(10*s, r.length))}}
		},
	}
}

// first is when an instance's first call was due.
func (r result) first(instance string) time.Duration {
	for _, c := range r {
		if c.Instance == instance {
			return c.Due
		}
	}
	return math.MaxInt64 / 2
}
