package chart

import (
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
)

// Number formats a plain quantity: 0, 0.25, 3.5, 120, 4.2k, 1.3M.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 999_500:
		return short(v/1e6) + "M"
	case a >= 9_995:
		return short(v/1e3) + "k"
	}
	return short(v)
}

// Millis formats a duration given in milliseconds with its unit: 0 ms,
// 0.25 ms, 3.5 ms, 120 ms, 1.25 s.
func Millis(ms float64) string {
	if math.Abs(ms) >= 999.5 {
		return short(ms/1e3) + " s"
	}
	return short(ms) + " ms"
}

// Ago formats an offset from now, in seconds: now, −30 s, −5 min, −1 min 30 s.
func Ago(s float64) string {
	if s > -0.5 {
		return "now"
	}
	d := time.Duration(math.Round(-s)) * time.Second
	minutes, rest := int(d.Minutes()), int(d.Seconds())%60
	switch {
	case minutes == 0:
		return "−" + strconv.Itoa(rest) + " s"
	case rest == 0:
		return "−" + strconv.Itoa(minutes) + " min"
	}
	return "−" + strconv.Itoa(minutes) + " min " + strconv.Itoa(rest) + " s"
}

// short gives three significant digits, without zeros that say nothing.
func short(v float64) string {
	a := math.Abs(v)
	digits := 2
	switch {
	case a >= 99.95:
		digits = 0
	case a >= 9.995:
		digits = 1
	case a > 0 && a < 0.0995:
		digits = 3
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}

// niceStep is the smallest of 1, 2, 5 × 10^n that cuts span into at most n parts.
func niceStep(span float64, n int) float64 {
	if span <= 0 || n < 1 {
		return 1
	}
	raw := span / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*power >= raw*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// niceTimeStep is the same for seconds: steps that a clock has.
func niceTimeStep(span float64, n int) float64 {
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600} {
		if span/s <= float64(n) {
			return s
		}
	}
	return niceStep(span, n)
}

// ticks marks an axis every step.
type ticks struct {
	step   float64
	format func(float64) string
}

// Ticks implements plot.Ticker.
func (t ticks) Ticks(lo, hi float64) (out []plot.Tick) {
	for k := math.Ceil(lo/t.step - 1e-9); k*t.step <= hi+t.step*1e-9; k++ {
		v := k * t.step
		out = append(out, plot.Tick{Value: v, Label: t.format(v)})
	}
	return out
}

// names marks the categories of a bar chart at 0, 1, 2, …
type names []string

// Ticks implements plot.Ticker.
func (n names) Ticks(lo, hi float64) (out []plot.Tick) {
	for i, name := range n {
		out = append(out, plot.Tick{Value: float64(i), Label: name})
	}
	return out
}
