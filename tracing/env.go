package tracing

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// env reads the standard variables, and collects what is wrong with them. As the
// OpenTelemetry specification asks ("Environment Variable Specification"), an empty
// one counts as unset, and so does one that makes no sense, which is warned of.
// Only what would send telemetry elsewhere than was meant, or to somebody who
// has not proved who he is, is an error.
type env struct {
	get     func(string) string
	ignored []ignored
	errs    []error
}

// An ignored variable counts as unset.
type ignored struct{ variable, value, accepted string }

func (e *env) ignore(name, value, accepted string) {
	if i := (ignored{name, value, accepted}); !slices.Contains(e.ignored, i) { // what all signals read
		e.ignored = append(e.ignored, i)
	}
}

func (e *env) refuse(err error) {
	if !slices.ContainsFunc(e.errs, func(had error) bool { return had.Error() == err.Error() }) {
		e.errs = append(e.errs, err)
	}
}

func (e *env) err() error {
	if len(e.errs) == 0 {
		return nil
	}
	return fmt.Errorf("tracing: %w", errors.Join(e.errs...))
}

// set are the variables that are, in their order: the one that counts first.
func (e *env) set(names ...string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, name := range names {
			if value := strings.TrimSpace(e.get(name)); value != "" && !yield(name, value) {
				return
			}
		}
	}
}

// first returns the first of the variables that is set, with its name; the
// last name if none is.
func (e *env) first(names ...string) (name, value string) {
	for name, value := range e.set(names...) {
		return name, value
	}
	return names[len(names)-1], ""
}

// choice reads one of some words, in any case.
func (e *env) choice(unset string, accepted []string, names ...string) string {
	for name, value := range e.set(names...) {
		for _, a := range accepted {
			if strings.EqualFold(value, a) {
				return a
			}
		}
		e.ignore(name, value, strings.Join(accepted, ", "))
	}
	return unset
}

// words reads a list of words with commas between them, in any case, each once;
// none stands for no word, and alone. said is false where nothing is left of it.
func (e *env) words(name string, known []string) (out []string, said bool) {
	_, list := e.first(name)
	accepted := strings.Join(known, ", ") + ", several with commas between them, or none"
	none := false
	for word := range strings.SplitSeq(strings.ToLower(list), ",") {
		switch word = strings.TrimSpace(word); {
		case word == "" || slices.Contains(out, word):
		case word == "none":
			none = true
		case slices.Contains(known, word):
			out = append(out, word)
		default:
			e.ignore(name, list, accepted)
		}
	}
	if none && len(out) > 0 {
		e.ignore(name, list, accepted)
	}
	return out, none || len(out) > 0
}

// boolean is true where a variable says so, and nowhere else.
func (e *env) boolean(names ...string) bool {
	name, value := e.first(names...)
	switch strings.ToLower(value) {
	case "true":
		return true
	case "", "false":
	default:
		e.ignore(name, value, "true or false")
	}
	return false
}

// mostMillis is what the specification asks for at least: 24 days.
const mostMillis = math.MaxInt32

// delay reads a number of milliseconds. Of none, nobody waits, but for a moment
// in which others come to their turn.
func (e *env) delay(unset time.Duration, names ...string) time.Duration {
	return max(e.millis(0, unset, names...), time.Millisecond)
}

// timeout reads a number of milliseconds, of which none is no limit.
func (e *env) timeout(unset time.Duration, names ...string) time.Duration {
	if d := e.millis(0, unset, names...); d > 0 {
		return d
	}
	return mostMillis * time.Millisecond
}

func (e *env) millis(least int, unset time.Duration, names ...string) time.Duration {
	return time.Duration(e.number(least, mostMillis, int(unset/time.Millisecond), "milliseconds", names...)) * time.Millisecond
}

// limit reads a number of things, of which there may be none.
func (e *env) limit(unset int, names ...string) int {
	return e.number(0, math.MaxInt32, unset, "a number", names...)
}

// number reads a whole number.
func (e *env) number(least, most, unset int, what string, names ...string) int {
	for name, value := range e.set(names...) {
		if n, err := strconv.Atoi(value); err == nil && n >= least && n <= most {
			return n
		}
		e.ignore(name, value, fmt.Sprintf("%s, whole, from %d to %d", what, least, most))
	}
	return unset
}
