package breaker

import "time"

const (
	leastRetryAfter = time.Second
	mostRetryAfter  = 30 * time.Second
)

// RetryAfter is what a shed call's answer says in Retry-After (RFC 9110
// section 10.2.3, in whole seconds: RetryAfterSeconds) and, for gRPC, in
// grpc-retry-pushback-ms (gRFC A6). The longer the overload has lasted, the
// longer it is expected to last: between half and the whole of that time, at
// least 1 to 2 s, at most 15 to 30 s. Where in that range depends on the call's
// cohort, so that those who were shed together do not come back together. It
// takes no lock.
func (g *Gate) RetryAfter(now int64, w *Waiter) time.Duration {
	lasted := time.Duration(0)
	if since := g.since.Load(); since != 0 {
		lasted = time.Duration(now - since)
	}
	most := min(max(lasted, 2*leastRetryAfter), mostRetryAfter)
	return most/2 + most/2*time.Duration(w.Cohort)/256
}

// RetryAfterSeconds rounds up to what Retry-After can say.
func RetryAfterSeconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
