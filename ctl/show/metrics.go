package show

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// Metrics is the table of meshctl top.
func Metrics(m api.Metrics) []string {
	rows := [][]string{{"SERVICE", ">REQ/S", ">SUCCESS", ">P50", ">P90", ">P99", ">INST", ">RETRY/S", ">OPEN", ">IN-FLIGHT"}}
	for _, s := range m.Services {
		rows = append(rows, []string{
			Name(s.Namespace, s.Name), number(s.RPS), success(s), ms(s, s.P50Ms), ms(s, s.P90Ms), ms(s, s.P99Ms),
			strconv.Itoa(s.Instances), number(s.RetriesPerSecond), strconv.Itoa(s.OpenBreakers), strconv.Itoa(s.InFlight),
		})
	}
	return Columns(rows)
}

// MetricsLine is one service on one line, for output that is no terminal.
func MetricsLine(at time.Time, s api.ServiceMetrics) string {
	return fmt.Sprintf("%s %s: %s req/s, success %s, p50 %s, p90 %s, p99 %s, instances %d, retries %s/s, open breakers %d, in-flight %d",
		at.Format(time.TimeOnly), Name(s.Namespace, s.Name), number(s.RPS), success(s),
		ms(s, s.P50Ms), ms(s, s.P90Ms), ms(s, s.P99Ms), s.Instances, number(s.RetriesPerSecond), s.OpenBreakers, s.InFlight)
}

// Name leaves the default namespace out.
func Name(namespace, name string) string {
	if namespace == "" || namespace == "default" {
		return name
	}
	return namespace + "/" + name
}

// success says 100% only when no call failed.
func success(s api.ServiceMetrics) string {
	switch {
	case s.RPS == 0:
		return "-"
	case s.Success < 1 && s.Success > 0.9999:
		return "99.99%"
	}
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(100*s.Success, 'f', 2, 64), "0"), ".") + "%"
}

func ms(s api.ServiceMetrics, v float64) string {
	if s.RPS == 0 {
		return "-"
	}
	return Milliseconds(v)
}

// Milliseconds keeps three digits: "0.87ms", "12.3ms", "1.25s".
func Milliseconds(v float64) string {
	if v >= 1000 {
		return threeDigits(v/1000) + "s"
	}
	return threeDigits(v) + "ms"
}

func threeDigits(v float64) string {
	decimals := 0
	switch {
	case v < 10:
		decimals = 2
	case v < 100:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func number(v float64) string {
	if v >= 100 || v == 0 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// Age is a duration in its one or two largest units: "42s", "3m10s", "5h2m".
func Age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
