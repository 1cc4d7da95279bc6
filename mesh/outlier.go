package mesh

import (
	"fmt"
	"time"
)

// Outlier says which instances take no calls for a while because they do worse
// than the others. Each rule is off where its number is 0.
type Outlier struct {
	Disabled     bool
	Interval     time.Duration // between two looks at the rates
	BaseEjection time.Duration // times how often it was out lately
	MaxEjection  time.Duration
	Jitter       time.Duration // up to this more
	MaxPercent   uint32        // of the instances that may be out; one always may

	Consecutive uint32 // failures in a row
	SuccessRate SuccessRate
	Failures    FailurePercentage
	// LatencyFactor: its mean latency is so many times the median of the others'.
	LatencyFactor float64
}

// SuccessRate makes an outlier of an instance whose rate of successes is below
// the mean by StdevFactor standard deviations.
type SuccessRate struct {
	StdevFactor   float64
	MinimumHosts  uint32 // with RequestVolume
	RequestVolume uint32 // calls in the interval
}

// FailurePercentage makes one of an instance of which Threshold of the calls
// failed.
type FailurePercentage struct {
	Threshold     uint32 // %
	MinimumHosts  uint32
	RequestVolume uint32
}

func defaultOutlier() Outlier {
	return Outlier{
		Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second, MaxPercent: 50, Consecutive: 5,
		SuccessRate: SuccessRate{StdevFactor: 1.9, MinimumHosts: 5, RequestVolume: 100},
		Failures:    FailurePercentage{Threshold: 85, MinimumHosts: 5, RequestVolume: 50},
	}
}

func (o *Outlier) decode(v value) {
	before := o.MaxEjection
	o.MaxEjection = 0
	v.fields(fields{
		"disabled":            boolean(&o.Disabled),
		"interval":            duration(&o.Interval, 100*time.Millisecond, time.Hour),
		"baseEjectionTime":    duration(&o.BaseEjection, 100*time.Millisecond, maxTime),
		"maxEjectionTime":     duration(&o.MaxEjection, 100*time.Millisecond, maxTime),
		"jitter":              duration(&o.Jitter, 0, time.Hour),
		"maxEjectionPercent":  integer(&o.MaxPercent, 0, 100),
		"consecutiveFailures": integer(&o.Consecutive, 0, maxCap),
		"successRate": func(v value) {
			s := &o.SuccessRate
			v.fields(fields{
				"stdevFactor":   number(&s.StdevFactor, 0, 1000),
				"minimumHosts":  integer(&s.MinimumHosts, 1, maxCap),
				"requestVolume": integer(&s.RequestVolume, 1, maxCap),
			})
		},
		"failurePercentage": func(v value) {
			f := &o.Failures
			v.fields(fields{
				"threshold":     integer(&f.Threshold, 0, 100),
				"minimumHosts":  integer(&f.MinimumHosts, 1, maxCap),
				"requestVolume": integer(&f.RequestVolume, 1, maxCap),
			})
		},
		"latencyFactor": func(v value) {
			number(&o.LatencyFactor, 0, 1000)(v)
			if o.LatencyFactor > 0 && o.LatencyFactor <= 1 {
				v.refuse("0 (off), or a number above 1 up to 1000")
			}
		},
	})
	if o.MaxEjection > 0 && o.MaxEjection < o.BaseEjection {
		v.at("maxEjectionTime").refuse(fmt.Sprintf("at least baseEjectionTime, which is %q", short(o.BaseEjection)))
	}
	if o.MaxEjection == 0 {
		o.MaxEjection = max(before, o.BaseEjection)
	}
}
