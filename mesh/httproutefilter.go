package mesh

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// decodeFilters reads the filters of a rule, of which the mesh does mirrors.
func (r *Routing) decodeFilters(namespace string, rule *RouteRule) func(value) {
	return func(v value) {
		v.each(maxFilters, func(_ int, v value) {
			mirrored := false
			v.fields(fields{
				"type": oneOf(new(string), "RequestMirror"),
				"requestMirror": func(v value) {
					mirrored = true
					if m := decodeMirror(namespace, v); m.Share > 0 {
						rule.Mirrors = append(rule.Mirrors, m)
					}
				},
			})
			if child(v.n, "type") == nil {
				v.missing("type", "RequestMirror")
			} else if !mirrored && scalar(v.n, "type") == "RequestMirror" {
				v.missing("requestMirror", "a backendRef, and percent or fraction for a share of the calls")
			}
		})
	}
}

func decodeMirror(namespace string, v value) RouteMirror {
	m := RouteMirror{Share: 1}
	backendSeen := false
	v.fields(fields{
		"backendRef": func(v value) {
			backendSeen = true
			decodeBackend(namespace, v, &m.Service, nil)
		},
		"percent": func(v value) {
			percent := 100
			integer(&percent, 0, 100)(v)
			m.Share = float64(percent) / 100
		},
		"fraction": func(v value) {
			numerator, denominator := uint32(0), uint32(100)
			v.fields(fields{"numerator": integer(&numerator, 0, 1<<31-1), "denominator": integer(&denominator, 1, 1<<31-1)})
			if child(v.n, "numerator") == nil {
				v.missing("numerator", "a whole number from 0 to the denominator")
			} else if numerator > denominator {
				v.at("numerator").refuse("at most the denominator, which is " + strconv.Itoa(int(denominator)))
			}
			m.Share = min(1, float64(numerator)/float64(denominator))
		},
	})
	if !backendSeen {
		v.missing("backendRef", "{name: SERVICE, port: PORT}")
	}
	if child(v.n, "percent") != nil && child(v.n, "fraction") != nil {
		v.at("fraction").wrong("percent is given too: accepted is one of them")
	}
	return m
}

func (rule *RouteRule) decodeTimeouts(v value) {
	v.fields(fields{"request": routeDuration(&rule.Request), "backendRequest": routeDuration(&rule.Attempt)})
	if r, a := rule.Request, rule.Attempt; r != nil && a != nil && *r > 0 && *a > *r {
		v.at("backendRequest").refuse("at most timeouts.request, which is " + strconv.Quote(short(*r)))
	}
}

// retryCodes are the statuses among policies' reasons.
func retryCodes() []string {
	return slices.DeleteFunc(slices.Clone(retryReasons), func(s string) bool { _, err := strconv.Atoi(s); return err != nil })
}

func (rule *RouteRule) decodeRetry(v value) {
	retry := new(RouteRetry)
	rule.Retry = retry
	accepted := retryCodes()
	v.fields(fields{
		"codes": func(v value) {
			retry.Codes = []string{}
			v.each(len(accepted), func(_ int, v value) {
				if !slices.Contains(accepted, v.n.Value) {
					v.refuse(strings.Join(accepted, ", "))
				}
				retry.Codes = append(retry.Codes, v.n.Value)
			})
		},
		"attempts": func(v value) {
			retry.Attempts = new(int)
			integer(retry.Attempts, 0, 10)(v)
		},
		"backoff": func(v value) {
			var d *time.Duration
			if routeDuration(&d)(v); d == nil {
				return
			}
			if retry.Backoff = *d; *d < time.Millisecond || *d > time.Minute {
				v.refuse(`a duration from "1ms" to "1m"`)
			}
		},
	})
}

// policy is p as the rule changes it.
func (rule *RouteRule) policy(p Policy) Policy {
	t := &p.Timeout
	if rule.Request != nil {
		t.Request = *rule.Request
	}
	if rule.Attempt != nil {
		t.Attempt = *rule.Attempt
	}
	if t.Request > 0 {
		t.Attempt = min(t.Attempt, t.Request)
	}
	r := rule.Retry
	if r == nil {
		return p
	}
	if r.Attempts != nil {
		p.Retry.Attempts = *r.Attempts
	}
	if r.Codes != nil {
		codes := retryCodes()
		words := slices.DeleteFunc(slices.Clone(p.Retry.When), func(s string) bool { return slices.Contains(codes, s) })
		p.Retry.When = append(words, r.Codes...)
		slices.Sort(p.Retry.When)
		p.Retry.When = slices.Compact(p.Retry.When)
	}
	if r.Backoff > 0 {
		p.Retry.BackoffBase, p.Retry.BackoffMax = r.Backoff, max(p.Retry.BackoffMax, r.Backoff)
	}
	return p
}

// routeDuration decodes a duration of Gateway API (GEP-2257): Go's, of up to
// four whole numbers of at most five digits and of h, m, s or ms.
func routeDuration(dst **time.Duration) func(value) {
	return func(v value) {
		d := new(time.Duration)
		before := len(v.s.errs)
		if duration(d, 0, maxTime)(v); len(v.s.errs) > before {
			return
		}
		if !isGatewayDuration(v.n.Value) {
			v.refuse(`a duration of whole h, m, s and ms, such as "250ms" or "1m30s"`)
			return
		}
		*dst = d
	}
}

func isGatewayDuration(s string) bool {
	parts := 0
	for s != "" {
		unit := strings.TrimLeft(s, "0123456789")
		digits := len(s) - len(unit)
		rest := strings.TrimLeft(unit, "hms")
		if parts++; digits == 0 || digits > 5 || parts > 4 || !slices.Contains([]string{"h", "m", "s", "ms"}, unit[:len(unit)-len(rest)]) {
			return false
		}
		s = rest
	}
	return true
}
