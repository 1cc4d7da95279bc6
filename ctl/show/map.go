package show

import (
	"cmp"
	"slices"
	"strings"

	"github.com/meshd/meshd/ctl/api"
)

// Map draws who calls whom: each caller with those that it calls below it, and
// what its calls to them are like. What a service calls is drawn once, where it
// is first met; "↑" says so elsewhere.
func Map(edges []api.Edge) []string {
	g := callGraph{of: map[api.ServiceName][]api.Edge{}, drawn: map[api.ServiceName]bool{}}
	called := map[api.ServiceName]bool{}
	for _, e := range edges {
		g.of[e.From] = append(g.of[e.From], e)
		called[e.To] = called[e.To] || e.To != e.From
	}
	callers := make([]api.ServiceName, 0, len(g.of))
	for s := range g.of {
		callers = append(callers, s)
	}
	slices.SortFunc(callers, compareNames)
	for _, of := range g.of {
		slices.SortFunc(of, func(a, b api.Edge) int {
			return cmp.Or(cmp.Compare(b.RPS, a.RPS), compareNames(a.To, b.To))
		})
	}
	g.rows = [][]string{{"SERVICE", ">CALLS/S", ">SUCCESS", ">P50", ">P99"}}
	for _, s := range callers {
		if !called[s] {
			g.root(s)
		}
	}
	for _, s := range callers {
		if !g.drawn[s] {
			g.root(s) // of a circle that nobody calls from outside
		}
	}
	return Columns(g.rows)
}

func compareNames(a, b api.ServiceName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

type callGraph struct {
	of    map[api.ServiceName][]api.Edge // by caller
	drawn map[api.ServiceName]bool
	rows  [][]string
}

func (g *callGraph) root(s api.ServiceName) {
	g.rows = append(g.rows, []string{Printable(Name(s.Namespace, s.Name)), "", "", "", ""})
	g.below(s, "")
}

func (g *callGraph) below(s api.ServiceName, indent string) {
	g.drawn[s] = true
	for i, e := range g.of[s] {
		branch, next := "├─ ", "│  "
		if i == len(g.of[s])-1 {
			branch, next = "└─ ", "   "
		}
		name := indent + branch + Printable(Name(e.To.Namespace, e.To.Name))
		again := g.drawn[e.To] && len(g.of[e.To]) > 0
		if again {
			name += " ↑"
		}
		m := api.ServiceMetrics{RPS: e.RPS, Success: e.Success}
		g.rows = append(g.rows, []string{name, number(e.RPS), success(m), ms(m, e.P50Ms), ms(m, e.P99Ms)})
		if !again {
			g.below(e.To, indent+next)
		}
	}
}
