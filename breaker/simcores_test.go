package breaker

// sharedCores works on all calls at once; each goes on at the speed of a core
// while there are no more of them than cores, and at its part of them else.
type sharedCores struct {
	*sim
	cores   int
	service func() float64 // seconds of a core

	jobs  []job
	last  int64 // when jobs were brought up to date
	round int   // the events of earlier ones are void
}

type job struct {
	left float64
	done func()
}

func (p *sharedCores) call(done func()) {
	p.advance()
	p.jobs = append(p.jobs, job{p.service(), done})
	p.schedule()
}

func (p *sharedCores) speed() float64 { return min(1, float64(p.cores)/float64(len(p.jobs))) }

func (p *sharedCores) advance() {
	if len(p.jobs) > 0 {
		did := float64(p.now-p.last) / 1e9 * p.speed()
		for i := range p.jobs {
			p.jobs[i].left -= did
		}
	}
	p.last = p.now
}

func (p *sharedCores) schedule() {
	p.round++
	if len(p.jobs) == 0 {
		return
	}
	round, next := p.round, p.jobs[0].left
	for _, j := range p.jobs {
		next = min(next, j.left)
	}
	p.after(int64(next/p.speed()*1e9)+1, func() {
		if round != p.round {
			return
		}
		p.advance()
		var over []func()
		rest := p.jobs[:0]
		for _, j := range p.jobs {
			if j.left <= 0 {
				over = append(over, j.done)
			} else {
				rest = append(rest, j)
			}
		}
		p.jobs = rest
		p.schedule()
		for _, done := range over {
			done()
		}
	})
}
