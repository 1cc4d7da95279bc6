package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/internal/loadgen"
)

// viewWindow is how many looks the load's figures cover.
const viewWindow = 5

// A view shows the demo: a table drawn again and again on a terminal, lines
// elsewhere.
type view struct {
	out    io.Writer
	screen *show.Screen // nil if out is no terminal
	rate   float64
	keys   bool

	mu      sync.Mutex
	started time.Time // zero before the load runs
	hints   []string
	last    api.Metrics
	choice  int
	snaps   []loadgen.Snapshot
}

func newView(cfg *Config) *view {
	v := &view{out: cfg.Out, rate: cfg.Rate, keys: cfg.Keys}
	if f, ok := show.Terminal(cfg.Out); ok {
		v.screen = show.NewScreen(f, func() int { return show.TerminalWidth(f) })
	}
	return v
}

// say tells one thing.
func (v *view) say(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	line = time.Now().Format(time.TimeOnly) + " " + line + "\n"
	if v.screen != nil {
		v.screen.Write([]byte(line))
		return
	}
	io.WriteString(v.out, line)
}

// begin says where to look and what to do.
func (v *view) begin(d *demo) {
	scale := "meshctl scale slow 4"
	if d.rig.http != DefaultHTTPAddr {
		scale = "meshctl --meshd http://" + d.rig.http + " scale slow 4"
	}
	hints := []string{"page   http://" + d.rig.http}
	if v.keys {
		hints = append(hints, "keys   1-3 choose   + - scale   k kill one   s slow one down   r reset   q quit")
	} else {
		hints = append(hints, "Ctrl-C ends it; from another terminal:")
	}
	hints = append(hints,
		"       "+scale,
		"       meshctl demo kill slow   meshctl demo slow slow   meshctl demo reset")
	v.mu.Lock()
	v.started, v.hints = time.Now(), hints
	v.mu.Unlock()
	if v.screen == nil {
		for _, h := range hints {
			v.say(h)
		}
	}
}

func (v *view) metrics(m api.Metrics) {
	m.Services = slices.DeleteFunc(m.Services, func(s api.ServiceMetrics) bool { return !slices.Contains(Roles, s.Name) })
	slices.SortFunc(m.Services, func(a, b api.ServiceMetrics) int {
		return slices.Index(Roles, a.Name) - slices.Index(Roles, b.Name)
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = m
	v.draw()
}

// tick takes in the load's figures.
func (v *view) tick(s loadgen.Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.snaps = append(v.snaps, s)
	if len(v.snaps) > viewWindow+1 {
		v.snaps = v.snaps[1:]
	}
	if v.screen != nil {
		v.draw()
		return
	}
	fmt.Fprintf(v.out, "%s %s\n", s.Time.Format(time.TimeOnly), v.load())
	for _, m := range v.last.Services {
		fmt.Fprintln(v.out, show.MetricsLine(s.Time, m))
	}
}

func (v *view) selected() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Roles[v.choice]
}

func (v *view) choose(i int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.choice = i
	v.draw()
}

// draw needs v.mu.
func (v *view) draw() {
	if v.screen == nil || v.started.IsZero() {
		return
	}
	lines := []string{"", fmt.Sprintf("\x1b[1mmeshd demo\x1b[0m   %s   up %s", v.load(), show.Age(time.Since(v.started).Seconds()))}
	for i, line := range show.Metrics(v.last) {
		mark := "  "
		if i > 0 && v.keys && v.last.Services[i-1].Name == Roles[v.choice] {
			mark, line = "> ", "\x1b[1m"+line+"\x1b[0m"
		}
		lines = append(lines, mark+line)
	}
	v.screen.Draw(append(append(lines, ""), v.hints...))
}

// load is the load generator's own view: what a user of front sees.
func (v *view) load() string {
	if len(v.snaps) < 2 {
		return fmt.Sprintf("load: %.0f calls/s wanted", v.rate)
	}
	first, last := v.snaps[0], v.snaps[len(v.snaps)-1]
	return "load: " + loadLine(last.Since(first), last.Time.Sub(first.Time))
}

func loadLine(s loadgen.Snapshot, over time.Duration) string {
	return fmt.Sprintf("%.0f calls/s, %d failed, p50 %s, p99 %s", float64(s.OK+s.Failed)/over.Seconds(), s.Failed,
		show.Milliseconds(s.Quantile(0.5).Seconds()*1000), show.Milliseconds(s.Quantile(0.99).Seconds()*1000))
}

// end sums up.
func (v *view) end(s loadgen.Snapshot) {
	v.mu.Lock()
	over := time.Since(v.started)
	v.mu.Unlock()
	v.say(fmt.Sprintf("%d calls in %s: %s", s.OK+s.Failed, show.Age(over.Seconds()), loadLine(s, over)))
	for _, why := range causes(s) {
		v.say("failed: " + why)
	}
}

// causes are the reasons of failed calls, the most frequent first.
func causes(s loadgen.Snapshot) []string {
	var names []string
	for why := range s.Causes {
		names = append(names, why)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := s.Causes[b] - s.Causes[a]; d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
	for i, why := range names {
		names[i] = fmt.Sprintf("%d × %s", s.Causes[why], why)
	}
	return names
}
