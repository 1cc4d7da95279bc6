package show

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// Why explains calls to a person: of each a line that says what came of it, its
// attempts in time, what else mattered, and the endpoints. Lines are at most 100
// columns wide, what a service has said of itself apart.
func Why(records []api.CallRecord) []string {
	var lines []string
	for i, r := range records {
		if i > 0 {
			lines = append(lines, "", strings.Repeat("-", 72), "")
		}
		lines = append(lines, why(r)...)
	}
	return lines
}

func why(r api.CallRecord) []string {
	lines := wrap(verdict(r), 100)
	about := r.Time.UTC().Format(time.RFC3339Nano)[:19] + "Z"
	for _, f := range []struct{ name, value string }{
		{"trace", r.Trace}, {"sidecar", r.Sidecar}, {"kept as", r.Kept},
	} {
		if f.value != "" {
			about += ", " + f.name + " " + f.value
		}
	}
	lines = append(lines, wrap(about, 100)...)
	if r.Method != "" {
		lines = append(lines, cut(Printable(r.Method+" "+r.Path), 100))
	}
	lines = append(append(lines, ""), timeline(r)...)
	if of := circumstances(r); len(of) > 0 {
		lines = append(lines, "")
		for _, s := range of {
			for i, part := range wrap(s, 98) {
				lines = append(lines, [2]string{"- ", "  "}[min(i, 1)]+part)
			}
		}
	}
	if len(r.Candidates) > 0 {
		lines = append(append(lines, ""), candidates(r)...)
	}
	return lines
}

// verdict is what came of the call, in a line.
func verdict(r api.CallRecord) string {
	what := "The call to " + r.Service
	if r.Inbound {
		what = "The call that " + r.Service + " was to serve"
	}
	result := outcome(r.Status, r.GRPC, r.Error)
	switch {
	case r.Refusal != "" && r.Error != "":
		return fmt.Sprintf("%s was not made (%s): %s.", what, result, Printable(r.Refusal))
	case r.Error != "" || r.Kept == "error":
		return fmt.Sprintf("%s failed after %s with %s, %s.", what, Milliseconds(r.TookMs), result, attempts(r))
	case r.Kept == "slow":
		return fmt.Sprintf("%s was slow: %s, %s, %s.", what, Milliseconds(r.TookMs), result, attempts(r))
	}
	return fmt.Sprintf("%s took %s: %s, %s.", what, Milliseconds(r.TookMs), result, attempts(r))
}

func attempts(r api.CallRecord) string {
	switch n := len(r.Attempts); n {
	case 0:
		return "no attempt"
	case 1:
		return "1 attempt"
	default:
		return strconv.Itoa(n) + " attempts"
	}
}

func outcome(status int, grpc, err string) string {
	var of []string
	if grpc != "" {
		of = append(of, grpc)
	}
	if status != 0 {
		of = append(of, strconv.Itoa(status))
	}
	if err != "" {
		of = append(of, err)
	}
	if len(of) == 0 {
		return "no answer"
	}
	return strings.Join(of, " ")
}

func timeline(r api.CallRecord) []string {
	rows := [][]string{{">AT", "EVENT", "INSTANCE", "RESULT", ">TOOK", ">COST"}}
	if r.HeldMs > 0 {
		rows = append(rows, []string{"0ms", "held", "", "waited for an endpoint", Milliseconds(r.HeldMs), ""})
	}
	if r.QueuedMs > 0 {
		rows = append(rows, []string{"0ms", "queued", "", "waited before the application", Milliseconds(r.QueuedMs), ""})
	}
	for i, a := range r.Attempts {
		event := "attempt " + strconv.Itoa(i+1)
		switch {
		case a.Hedge:
			event = "hedge"
		case a.Retry != "":
			event = "retry: " + a.Retry
		}
		result := outcome(a.Status, a.GRPC, a.Error)
		switch {
		case a.Shed:
			result += ", shed"
		case result == "no answer" && a.TookMs > 0:
			result = "given up"
		}
		rows = append(rows, []string{Milliseconds(a.AtMs), cut(event, 22), cut(instance(a.Instance, a.Endpoint), 20), cut(result, 24),
			Milliseconds(a.TookMs), price(a.Cost)})
	}
	if r.Refusal != "" {
		rows = append(rows, []string{Milliseconds(r.TookMs), "refused", "", cut(outcome(0, "", r.Error), 24), "", ""})
	}
	return append(Columns(rows), Milliseconds(r.TookMs)+" end: "+outcome(r.Status, r.GRPC, r.Error))
}

// circumstances are what mattered beside the attempts.
func circumstances(r api.CallRecord) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, n := range r.Notes {
		out = append(out, Printable(n))
	}
	if r.Refusal != "" && r.Error == "" {
		add("refused: %s", Printable(r.Refusal))
	}
	if r.Earlier > 1 {
		add("attempt %d of a call that was tried before, or caused by one", r.Earlier)
	}
	if r.DeadlineMs != 0 {
		add("deadline after %s", Milliseconds(r.DeadlineMs))
	}
	if r.Priority != "" {
		add("priority %s", Printable(r.Priority))
	}
	if r.Session != "" {
		add("session with %s", Printable(r.Session))
	}
	if r.Inbound {
		return out
	}
	if r.Route != "" {
		add("route %s", Printable(r.Route))
	}
	if r.Cluster != "" {
		add("cluster %s, balancer %s; %.1f more retries could be paid for", Printable(r.Cluster), r.Balancer, r.Budget)
		if r.RouteVersion != "" {
			add("configuration: route %s, cluster %s", Printable(r.RouteVersion), Printable(r.ClusterVersion))
		}
	}
	return out
}

func candidates(r api.CallRecord) []string {
	title := "Endpoints when it had ended:"
	if r.Endpoints > len(r.Candidates) {
		title = fmt.Sprintf("Endpoints when it had ended, %d of %d:", len(r.Candidates), r.Endpoints)
	}
	rows := [][]string{{"INSTANCE", "ADDRESS", ">COST", ">IN-FLIGHT", "BREAKER", "HEALTH"}}
	for _, c := range r.Candidates {
		health := c.Health
		if health == "" {
			health = "ok"
		}
		rows = append(rows, []string{cut(instance(c.Instance, "-"), 20), cut(c.Endpoint, 24), price(c.Cost),
			strconv.FormatInt(c.InFlight, 10), c.Breaker, cut(health, 17)})
	}
	return append([]string{title}, Columns(rows)...)
}

func instance(id, otherwise string) string {
	if id == "" {
		return otherwise
	}
	return Printable(id)
}

// price is a cost as a balancer has it, ns; beyond an hour it only says that
// all others come first.
func price(ns float64) string {
	switch {
	case ns >= 3.6e12:
		return "last"
	case ns <= 0:
		return "0"
	}
	return Milliseconds(ns / 1e6)
}

// wrap breaks a text at blanks.
func wrap(s string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// Printable takes what could talk to a terminal out of what others have said.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
