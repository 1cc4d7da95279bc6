package grpc

import (
	"math"
	"strconv"
	"time"
)

// maxTimeout is the largest TimeoutValue: 8 digits.
const maxTimeout = 99_999_999

// ParseTimeout reads the value of grpc-timeout: up to 8 digits and a unit. What
// a time.Duration cannot hold (292 years) is as long as it can be. 0 is a
// deadline that has passed: the grammar wants a positive number, and clients
// send it. ok is false for anything else, which says nothing about a deadline.
func ParseTimeout[T ~string | ~[]byte](s T) (d time.Duration, ok bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) - 1 {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'n':
		unit = time.Nanosecond
	case 'u':
		unit = time.Microsecond
	case 'm':
		unit = time.Millisecond
	case 'S':
		unit = time.Second
	case 'M':
		unit = time.Minute
	case 'H':
		unit = time.Hour
	default:
		return 0, false
	}
	if n > int64(math.MaxInt64/unit) {
		return math.MaxInt64, true
	}
	return time.Duration(n) * unit, true
}

// AppendTimeout writes what is left of a deadline as grpc-timeout, as exactly
// as 8 digits can, and rounded down: a hop may shorten a deadline, by a
// hundred-thousandth at most, and never lengthens it. What has
// passed is "1n", since the grammar has no 0; better not to send that request.
func AppendTimeout(dst []byte, d time.Duration) []byte {
	switch n := int64(max(d, 1)); {
	case n <= maxTimeout:
		return append(strconv.AppendInt(dst, n, 10), 'n')
	case n/1e3 <= maxTimeout:
		return append(strconv.AppendInt(dst, n/1e3, 10), 'u')
	case n/1e6 <= maxTimeout:
		return append(strconv.AppendInt(dst, n/1e6, 10), 'm')
	case n/1e9 <= maxTimeout:
		return append(strconv.AppendInt(dst, n/1e9, 10), 'S')
	case n/60e9 <= maxTimeout:
		return append(strconv.AppendInt(dst, n/60e9, 10), 'M')
	default:
		return append(strconv.AppendInt(dst, n/3600e9, 10), 'H')
	}
}
