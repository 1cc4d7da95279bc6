package mesh

import (
	"fmt"
	"time"
)

// Hold says how calls wait while no instance takes any.
type Hold struct {
	Calls uint32        // that wait, at most, at one sidecar; 0 turns it off
	Wait  time.Duration // at most
	// Scaled says that the service gets more instances when it has too much to
	// do: then calls wait at Limits.Requests, too.
	Scaled bool
}

// Admission says how an instance's own sidecar lets calls in. What is 0 is
// found by measuring.
type Admission struct {
	Disabled bool
	Min, Max uint32 // calls at once
	Queue    uint32 // calls that wait
	MaxWait  time.Duration
}

// priorities are the words of a call's priority, the first to be shed first.
var priorities = []string{"sheddable", "sheddable-plus", "critical", "critical-plus"}

func defaultHold() Hold { return Hold{Calls: 4096, Wait: 10 * time.Second} }

func (h *Hold) decode(v value) {
	v.fields(fields{
		"calls":  integer(&h.Calls, 0, maxCap),
		"wait":   duration(&h.Wait, time.Millisecond, time.Hour),
		"scaled": boolean(&h.Scaled),
	})
}

func (a *Admission) decode(v value) {
	v.fields(fields{
		"disabled": boolean(&a.Disabled),
		"min":      integer(&a.Min, 0, maxCap),
		"max":      integer(&a.Max, 0, maxCap),
		"queue":    integer(&a.Queue, 0, maxCap),
		"maxWait":  duration(&a.MaxWait, 0, time.Minute),
	})
	if a.Max > 0 && a.Max < a.Min {
		v.at("max").refuse(fmt.Sprintf("0 (no bound), or at least admission.min, which is %d", a.Min))
	}
}
