package call

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A RecordQuery says which Records are asked for; what is empty matches all.
type RecordQuery struct {
	Trace   string // 32 digits, in hex
	Service string // "default/checkout:8080", or "checkout" of any namespace and port
	Kept    string // error, slow or sampled
	Limit   int    // 0: all
}

// ParseRecordQuery reads trace, service, kept and limit. The error names the
// parameter, its value, and what would be accepted.
func ParseRecordQuery(v url.Values) (q RecordQuery, err error) {
	q = RecordQuery{Trace: strings.ToLower(v.Get("trace")), Service: v.Get("service"), Kept: v.Get("kept")}
	if q.Trace != "" && (len(q.Trace) != 32 || strings.Trim(q.Trace, "0123456789abcdef") != "") {
		return q, fmt.Errorf("trace %q: want 32 hexadecimal digits", q.Trace)
	}
	if q.Kept != "" && !slices.Contains(keptNames[:], q.Kept) {
		return q, fmt.Errorf("kept %q: want one of %s", q.Kept, strings.Join(keptNames[:], ", "))
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 {
			return q, fmt.Errorf("limit %q: want a number from 1", s)
		}
	}
	return q, nil
}

// Query lists the Records asked for, the newest first.
func (r *Records) Query(q RecordQuery) []Record {
	out := r.All(func(rec *Record) bool {
		return (q.Trace == "" || rec.Trace == q.Trace) && (q.Kept == "" || rec.Kept == q.Kept) &&
			(q.Service == "" || IsService(rec.Service, q.Service))
	})
	slices.SortStableFunc(out, func(a, b Record) int { return b.Time.Compare(a.Time) })
	if q.Limit > 0 && len(out) > q.Limit {
		out = out[:q.Limit]
	}
	return out
}

// IsService reports whether a canonical name is what somebody asks for, who may
// leave out namespace and port.
func IsService(name, asked string) bool {
	if !strings.Contains(asked, "/") {
		name = name[strings.Index(name, "/")+1:]
	}
	if !strings.Contains(asked, ":") {
		name, _, _ = strings.Cut(name, ":")
	}
	return name == asked
}
