package tracing

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// env reads the standard variables and collects what is wrong with them. An
// empty variable counts as unset, as OpenTelemetry asks.
type env struct {
	get  func(string) string
	errs []error
}

func (e *env) err() error { return errors.Join(e.errs...) }

func (e *env) refuse(name, value, accepted string) {
	e.errs = append(e.errs, fmt.Errorf("tracing: %s=%q: accepted is %s", name, value, accepted))
}

// first returns the first of the variables that is set, with its name; the
// last name if none is.
func (e *env) first(names ...string) (name, value string) {
	for _, name = range names {
		if value = strings.TrimSpace(e.get(name)); value != "" {
			return name, value
		}
	}
	return name, ""
}

// choice reads one of some words, in any case, as the specification asks.
func (e *env) choice(unset string, accepted []string, names ...string) string {
	name, value := e.first(names...)
	if value == "" {
		return unset
	}
	for _, a := range accepted {
		if strings.EqualFold(value, a) {
			return a
		}
	}
	e.refuse(name, value, strings.Join(accepted, ", "))
	return unset
}

func (e *env) boolean(names ...string) bool {
	name, value := e.first(names...)
	switch strings.ToLower(value) {
	case "true":
		return true
	case "", "false":
	default:
		e.refuse(name, value, "true or false")
	}
	return false
}

// millis reads a whole number of milliseconds above zero.
func (e *env) millis(unset time.Duration, names ...string) time.Duration {
	return time.Duration(e.number(int(unset/time.Millisecond), "a whole number of milliseconds from 1 to 86400000", 86_400_000, names...)) * time.Millisecond
}

// number reads a whole number from 1 to most.
func (e *env) number(unset int, accepted string, most int, names ...string) int {
	return e.between(1, most, unset, accepted, names...)
}

// limit reads a number of things, of which there may be none.
func (e *env) limit(unset int, names ...string) int {
	return e.between(0, 1_000_000, unset, "a number from 0 to 1000000", names...)
}

func (e *env) between(least, most, unset int, accepted string, names ...string) int {
	name, value := e.first(names...)
	if value == "" {
		return unset
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.refuse(name, value, accepted)
		return unset
	}
	return n
}
