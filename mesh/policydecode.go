package mesh

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxTargets = 16
	maxTime    = 24 * time.Hour
	maxCap     = 1_000_000
)

func decodeTrafficPolicy(meta Meta, root value) Object {
	t := &TrafficPolicy{Meta: meta, Policy: DefaultPolicy()}
	p := &t.Policy
	specSeen := false
	t.decode(root, isName, nameForm, fields{"spec": func(v value) {
		specSeen = true
		table := fields{
			"targetRefs": t.decodeTargets,
			"timeout":    p.Timeout.decode,
			"retry":      p.Retry.decode,
			"breaker":    p.Breaker.decode,

			"outlierDetection": p.Outlier.decode,
			"healthCheck":      p.Check.decode,
			"hold":             p.Hold.decode,
			"admission":        p.Admission.decode,
			"priority":         oneOf(&p.Priority, priorities...),
			"session":          p.Session.decode,
			"rateLimit":        p.RateLimit.decode,
			"fault":            p.Fault.decode,
			"mirror":           decodeMirrors(&p.Mirrors),
			"limits": func(v value) {
				v.fields(fields{
					"connections": integer(&p.Limits.Connections, 0, maxCap),
					"pending":     integer(&p.Limits.Pending, 0, maxCap),
					"requests":    integer(&p.Limits.Requests, 0, maxCap),

					"sharedRequests": integer(&p.Limits.SharedRequests, 0, maxCap),
				})
			},
			"headers": func(v value) {
				v.fields(fields{"via": boolean(&p.Headers.Via), "forwarded": oneOf(&p.Headers.Forwarded, forwarded...)})
			},
			"tracing": func(v value) {
				v.fields(fields{"ratio": number(&p.TraceRatio, 0, 1)})
			},
		}
		maps.Copy(table, p.Balancing.fields(&p.Balancer))
		v.fields(table)
		p.Balancing.check(v, p.Balancer)
		if len(nodesOf(v.n, "targetRefs")) == 0 {
			v.missing("targetRefs", "at least one {kind: Service, name: NAME}")
		}
	}})
	if !specSeen {
		root.missing("spec", "targetRefs and what is to differ from the defaults")
	}
	return t
}

func (t *TrafficPolicy) decodeTargets(v value) {
	v.each(maxTargets, func(_ int, v value) {
		var target PolicyTarget
		v.fields(fields{
			"group": text(new(string), func(s string) bool { return s == "" }, `"" (the core group)`),
			"kind":  oneOf(new(string), KindService),
			"name":  text(&target.Name, isLabel, labelForm),
			"port":  integer(&target.Port, 1, math.MaxUint16),
		})
		if child(v.n, "kind") == nil {
			v.missing("kind", KindService)
		}
		if child(v.n, "name") == nil {
			v.missing("name", "the name of a Service in the policy's namespace")
		}
		if slices.Contains(t.Targets, target) {
			v.wrong("given twice: accepted is each target once")
		}
		t.Targets = append(t.Targets, target)
	})
}

func (t *Timeout) decode(v value) {
	v.fields(fields{
		"request": duration(&t.Request, 0, maxTime),
		"attempt": duration(&t.Attempt, 0, maxTime),
		"connect": duration(&t.Connect, time.Millisecond, time.Minute),
		"idle":    duration(&t.Idle, time.Second, maxTime),
	})
	if t.Request > 0 && t.Attempt > t.Request {
		v.at("attempt").refuse(fmt.Sprintf("at most timeout.request, which is %q", short(t.Request)))
	}
}

func (r *Retry) decode(v value) {
	maxBefore := r.BackoffMax
	r.BackoffMax = 0
	v.fields(fields{
		"attempts":    integer(&r.Attempts, 0, 10),
		"when":        r.decodeWhen,
		"bufferBytes": integer(&r.BufferBytes, 0, 16<<20),
		"hedge":       r.Hedge.decode,
		"backoff": func(v value) {
			v.fields(fields{
				"base": duration(&r.BackoffBase, time.Millisecond, time.Minute),
				"max":  duration(&r.BackoffMax, time.Millisecond, time.Minute),
			})
			if r.BackoffMax > 0 && r.BackoffMax < r.BackoffBase {
				v.at("max").refuse(fmt.Sprintf("at least backoff.base, which is %q", short(r.BackoffBase)))
			}
		},
		"budget": func(v value) {
			v.fields(fields{
				"ratio":        number(&r.Budget.Ratio, 0, 1),
				"minPerSecond": number(&r.Budget.MinPerSecond, 0, 1_000_000),
			})
		},
	})
	if r.BackoffMax == 0 {
		r.BackoffMax = max(maxBefore, r.BackoffBase)
	}
}

// decodeWhen takes status codes as numbers too: 503 means "503".
func (r *Retry) decodeWhen(v value) {
	accepted := strings.Join(retryReasons, ", ")
	r.When = nil
	v.each(2*len(retryReasons), func(_ int, v value) {
		if v.n.Kind != yaml.ScalarNode || !slices.Contains(retryReasons, v.n.Value) {
			v.refuse(accepted)
			return
		}
		r.When = append(r.When, v.n.Value)
	})
	slices.Sort(r.When)
	r.When = slices.Compact(r.When)
	if len(r.When) == 0 && v.n.Kind == yaml.SequenceNode && len(v.n.Content) == 0 {
		v.wrong("an empty list: accepted is some of " + accepted + "; retry.attempts: 0 turns retries off")
	}
}

func (b *Breaker) decode(v value) {
	v.fields(fields{
		"disabled":            boolean(&b.Disabled),
		"consecutiveFailures": integer(&b.ConsecutiveFailures, 0, maxCap),
		"errorRatio":          number(&b.ErrorRatio, 0, 1),
		"minRequests":         integer(&b.MinRequests, 1, maxCap),
		"window":              duration(&b.Window, 100*time.Millisecond, time.Hour),
		"openFor":             duration(&b.OpenFor, 10*time.Millisecond, time.Hour),
		"halfOpenRequests":    integer(&b.HalfOpenRequests, 1, maxCap),
	})
	if !b.Disabled && b.ConsecutiveFailures == 0 && b.ErrorRatio == 0 {
		v.wrong("consecutiveFailures and errorRatio are both 0, so that it can never open: accepted is one of them above 0, or disabled: true")
	}
}
