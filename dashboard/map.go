package dashboard

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/dashboard/graph"
	"github.com/meshd/meshd/telemetry"
)

// mapBody is the view of who calls whom: the same as picture and as table.
type mapBody struct {
	Picture template.HTML
	Left    int // edges that are in the table only
	Rows    []edgeRow
	Over    string
}

type edgeRow struct {
	From, To               string
	FromLink, ToLink       string
	RPS, Success, P50, P99 string
	Bad                    bool
}

// maxEdges is how many edges the picture has; of more, the busiest.
const maxEdges = 150

func (d *Dashboard) callMap(_ *http.Request, s state) (page, error) {
	edges := d.cfg.Reader.Edges(s.span(0))
	b := mapBody{Over: s.over()}
	known := map[telemetry.Service]bool{}
	nodes := map[telemetry.Service]*graph.Node{}
	node := func(id telemetry.Service) *graph.Node {
		if nodes[id] == nil {
			nodes[id] = &graph.Node{ID: id.String(), Label: id.Name}
			if id.Namespace != "default" {
				nodes[id].Label = id.String()
			}
		}
		return nodes[id]
	}
	for _, snap := range d.snapshot().Services {
		id := telemetry.Service{Namespace: snap.Namespace, Name: snap.Name}
		known[id] = true
		n := node(id)
		n.Link, n.Note = s.link(servicePath(id)), fmt.Sprintf("%d instances", snap.Instances)
		if snap.Instances == 1 {
			n.Note = "1 instance"
		}
		n.Bad = snap.RPS > 0 && snap.Success < failing
	}
	most := 0.0
	for _, e := range edges {
		most = max(most, e.RPS)
	}
	for _, e := range edges {
		row := edgeRow{
			From: e.From.String(), To: e.To.String(), RPS: chart.Number(e.RPS) + "/s", Success: percent(e.Success),
			P50: chart.Millis(e.P50Ms), P99: chart.Millis(e.P99Ms), Bad: e.Success < failing,
		}
		if known[e.From] {
			row.FromLink = s.link(servicePath(e.From))
		}
		if known[e.To] {
			row.ToLink = s.link(servicePath(e.To))
		}
		b.Rows = append(b.Rows, row)
	}
	drawn := slices.SortedStableFunc(slices.Values(edges), func(a, b telemetry.Edge) int { return cmp.Compare(b.RPS, a.RPS) })
	if len(drawn) > maxEdges {
		b.Left = len(drawn) - maxEdges
		drawn = drawn[:maxEdges]
	}
	slices.SortStableFunc(drawn, func(a, b telemetry.Edge) int {
		return cmp.Or(cmp.Compare(a.From.String(), b.From.String()), cmp.Compare(a.To.String(), b.To.String()))
	})
	var curves []graph.Edge
	for _, e := range drawn {
		curve := graph.Edge{
			From: node(e.From).ID, To: node(e.To).ID, Label: chart.Number(e.RPS) + "/s · " + chart.Millis(e.P99Ms),
			Title: fmt.Sprintf("%s calls %s: %s/s, success %s, p99 %s", e.From, e.To, chart.Number(e.RPS), percent(e.Success), chart.Millis(e.P99Ms)),
			Bad:   e.Success < failing,
		}
		if most > 0 {
			curve.Weight = math.Sqrt(e.RPS / most)
		}
		curves = append(curves, curve)
	}
	var boxes []graph.Node
	for _, id := range slices.SortedFunc(maps.Keys(nodes), func(a, b telemetry.Service) int { return cmp.Compare(a.String(), b.String()) }) {
		boxes = append(boxes, *nodes[id])
	}
	var out bytes.Buffer
	if err := graph.SVG(&out, "Who calls whom; the table below says the same", boxes, curves); err != nil {
		return page{}, err
	}
	b.Picture = template.HTML(out.String())
	return page{Title: "Map", Section: "Map", Body: b}, nil
}
