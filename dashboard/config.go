package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// configBody is the view of what each client has and rejects.
type configBody struct {
	Summary string
	Rows    []clientRow
}

type clientRow struct {
	ID, Service, Link, Connected, Has, Acked, Nacked string
	Why                                              []pair // it rejects, by type
	Bad                                              bool
}

func (d *Dashboard) config(_ *http.Request, s state) (page, error) {
	var b configBody
	known := map[telemetry.Service]bool{}
	for _, id := range d.known() {
		known[id] = true
	}
	rejecting := 0
	var clients []Client
	if d.cfg.Clients != nil {
		clients = d.cfg.Clients()
	}
	now := d.cfg.Store.Now()
	for _, c := range clients {
		id := telemetry.Service{Namespace: c.Namespace, Name: c.Service}
		row := clientRow{
			ID: c.ID, Service: id.String(), Connected: ago(now.Sub(c.Connected)),
			Acked: strconv.FormatUint(c.Acked, 10), Nacked: strconv.FormatUint(c.Nacked, 10),
		}
		var has []string
		for _, h := range c.Has {
			has = append(has, fmt.Sprintf("%s %d", h.Type, h.Resources))
			if h.Rejected != "" {
				row.Why = append(row.Why, pair{h.Type, h.Rejected})
			}
		}
		slices.Sort(has)
		row.Has = strings.Join(has, ", ")
		if known[id] {
			row.Link = s.link(servicePath(id))
		}
		if row.Bad = len(row.Why) > 0; row.Bad {
			rejecting++
		}
		b.Rows = append(b.Rows, row)
	}
	b.Summary = fmt.Sprintf("%s connected; none rejects anything.", plural(len(clients), "client is", "clients are"))
	if rejecting > 0 {
		b.Summary = fmt.Sprintf("%s connected, %d with something rejected: what they had before stays in force there.", plural(len(clients), "client is", "clients are"), rejecting)
	}
	return page{Title: "Config", Section: "Config", Timeless: true, Body: b}, nil
}

// ago is how long something has been so, in its two greatest units.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}
