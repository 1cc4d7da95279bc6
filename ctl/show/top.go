package show

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/meshd/meshd/ctl/api"
)

// Instances is the table of meshctl top --instances. EQUAL says how an
// instance's share stands to an equal one: 1.5× is half more than that. WEIGHT is
// the share that its callers aim at.
func Instances(all []api.InstanceStat) []string {
	rows := [][]string{{"INSTANCE", ">REQ/S", ">SHARE", ">WEIGHT", ">EQUAL", ">SUCCESS", ">P50", ">P90", ">P99", ">IN-FLIGHT", "ADDRESS", ""}}
	top := 0.0
	for _, i := range all {
		top = max(top, i.Share)
	}
	for _, i := range all {
		m := api.ServiceMetrics{RPS: i.RPS, Success: i.Success}
		weight := "-"
		if i.Weight != nil {
			weight = fmt.Sprintf("%.1f%%", 100**i.Weight)
		}
		rows = append(rows, []string{
			Printable(i.ID), number(i.RPS), fmt.Sprintf("%.1f%%", 100*i.Share), weight, fmt.Sprintf("%.2f×", i.Share*float64(len(all))),
			success(m), ms(m, i.P50Ms), ms(m, i.P90Ms), ms(m, i.P99Ms), strconv.Itoa(int(math.Round(i.InFlight))), Printable(i.Address), shareBar(i.Share, top),
		})
	}
	return Columns(rows)
}

// shareBar is a share beside the largest one, ten columns wide.
func shareBar(share, top float64) string {
	if top <= 0 {
		return ""
	}
	return strings.Repeat("■", int(10*share/top+0.5))
}

// A Route is a service's route over a moment.
type Route struct {
	Name    string  `json:"name"`
	RPS     float64 `json:"rps"`
	Success float64 `json:"success"`
	MeanMs  float64 `json:"meanMs"`
	P50Ms   float64 `json:"p50Ms"`
	P90Ms   float64 `json:"p90Ms"`
	P99Ms   float64 `json:"p99Ms"`
}

// Routes is the table of meshctl top --routes.
func Routes(all []Route) []string {
	rows := [][]string{{"ROUTE", ">REQ/S", ">SUCCESS", ">MEAN", ">P50", ">P90", ">P99"}}
	for _, r := range all {
		m := api.ServiceMetrics{RPS: r.RPS, Success: r.Success}
		name := Printable(r.Name)
		if name == "" {
			name = "-"
		}
		rows = append(rows, []string{name, number(r.RPS), success(m), ms(m, r.MeanMs), ms(m, r.P50Ms), ms(m, r.P90Ms), ms(m, r.P99Ms)})
	}
	return Columns(rows)
}
