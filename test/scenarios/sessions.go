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
