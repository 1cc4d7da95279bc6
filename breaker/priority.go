package breaker

import (
	"errors"
	"fmt"
	"strings"
)

// PriorityHeader is the request header that says a call's priority. It is set
// by whoever knows (the edge, a route's policy), and goes on with the calls
// that the call causes. It is not RFC 9218's Priority, which orders the parts
// of answers on one connection and is not about being served at all.
const PriorityHeader = "meshd-priority"

// A Priority says which calls are shed first when not all can be served. The
// four are those of Google's SRE book, "Handling Overload". The zero value is
// Critical: a caller who says nothing is not the first to suffer, and can only
// be overtaken on purpose.
type Priority int8

// The priorities. Calls of a lower one are shed while one of a higher waits.
const (
	Sheddable     Priority = iota - 2 // its loss is expected: batch work that is tried again later
	SheddablePlus                     // its loss is noticed by nobody soon: prefetching
	Critical                          // users see its loss; the default
	CriticalPlus                      // its loss is an incident
)

const priorities = 4

var priorityNames = [priorities]string{"sheddable", "sheddable-plus", "critical", "critical-plus"}

// level is 0 for the lowest priority; what is out of range counts as the
// nearest.
func (p Priority) level() int { return int(min(max(p, Sheddable), CriticalPlus) - Sheddable) }

// String is the value of PriorityHeader.
func (p Priority) String() string { return priorityNames[p.level()] }

var errPriority = errors.New("want one of " + strings.Join(priorityNames[:], ", "))

// ParsePriority reads a value of PriorityHeader or of a route's policy. It
// takes the case that it finds, and the underscores of Google's spelling. It
// does not allocate unless it fails.
func ParsePriority(s string) (Priority, error) {
	for i, name := range priorityNames {
		if sameWord(s, name) {
			return Priority(i) + Sheddable, nil
		}
	}
	return Critical, fmt.Errorf("priority %q: %w", s, errPriority)
}

func sameWord(s, name string) bool {
	if len(s) != len(name) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
