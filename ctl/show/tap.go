package show

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// Tap is a call on one line: when it ended, where, what it was and came to, how
// long it took and what that went to. zone is the user's.
func Tap(c api.TapCall, zone *time.Location) string {
	end := c.Time.Add(time.Duration(c.TookMs * float64(time.Millisecond)))
	arrow, at := "→", c.Instance
	if c.Side == "in" {
		arrow = "←"
	}
	if at == "" {
		at = c.Endpoint
	}
	if at == "" {
		at = "-"
	}
	what := c.Method + " " + c.Path
	if c.TCP {
		what = fmt.Sprintf("TCP %d bytes sent, %d received", c.Sent, c.Received)
	}
	parts := []string{
		end.In(zone).Format("15:04:05.000"), pad(tapResult(c), 3), padLeft(Milliseconds(c.TookMs), 7),
		arrow, TapService(c.Service) + "/" + Printable(at), Printable(what),
	}
	return strings.Join(append(parts, tapNotes(c)...), " ")
}

// TapService is a canonical name without what is the default.
func TapService(name string) string { return strings.TrimPrefix(Printable(name), "default/") }

func tapResult(c api.TapCall) string {
	switch {
	case c.GRPC != "":
		return Printable(c.GRPC)
	case c.Status != 0:
		return strconv.Itoa(c.Status)
	case c.TCP && c.Error == "":
		return "end"
	}
	return "-"
}

// tapNotes are what is not so with most calls.
func tapNotes(c api.TapCall) (out []string) {
	if c.Error != "" {
		out = append(out, Printable(c.Error))
	}
	if c.Refusal != "" {
		out = append(out, "("+Printable(c.Refusal)+")")
	}
	if c.Attempts > 1 {
		out = append(out, strconv.Itoa(c.Attempts)+" attempts")
	}
	for _, name := range partOrder {
		if v := c.PartsMs[name]; v >= 0.05 { // less is noise
			out = append(out, name+" "+Milliseconds(v))
		}
	}
	if c.Kept != "" && c.Trace != "" {
		out = append(out, "trace="+Printable(c.Trace))
	}
	names := make([]string, 0, len(c.Headers))
	for name := range c.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, fmt.Sprintf("%s=%q", Printable(name), Printable(c.Headers[name])))
	}
	return out
}

// partOrder are the parts of a call's time in the order in which they come.
var partOrder = []string{"held", "connect", "retried", "network", "queued", "downstream", "own"}

func pad(s string, width int) string     { return fmt.Sprintf("%-*s", width, s) }
func padLeft(s string, width int) string { return fmt.Sprintf("%*s", width, s) }
