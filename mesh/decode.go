package mesh

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A scope gathers the errors of one object.
type scope struct {
	file   string
	offset int // lines of the file before the chunk that nodes count from
	key    Key
	errs   []error
}

// A value is a YAML value and the path that leads to it. Its methods decode
// into the place given and tell the scope when they cannot.
type value struct {
	s    *scope
	n    *yaml.Node
	path string
	line int
}

// wrong tells the scope that there is a problem with v.
func (v value) wrong(problem string) {
	if len(v.s.errs) < maxErrors {
		v.s.errs = append(v.s.errs, &Error{
			File: v.s.file, Line: v.s.offset + v.line, Object: v.s.key, Field: v.path, Problem: problem,
		})
	}
}

// refuse tells the scope that v's value is not what is accepted.
func (v value) refuse(accepted string) {
	got := "value " + strconv.Quote(clip(v.n.Value))
	switch v.n.Kind {
	case yaml.MappingNode:
		got = "a mapping"
	case yaml.SequenceNode:
		got = "a list"
	}
	v.wrong(got + ": accepted is " + accepted)
}

// at is v's field of that name, for errors about it.
func (v value) at(field string) value {
	v.path = strings.TrimPrefix(v.path+"."+field, ".")
	if c := child(v.n, field); c != nil {
		v.n, v.line = c, c.Line
	}
	return v
}

// missing tells the scope that a field of the mapping v is needed. What is no
// mapping has been refused as that.
func (v value) missing(field, accepted string) {
	if v.n.Kind != yaml.MappingNode {
		return
	}
	f := value{s: v.s, path: strings.TrimPrefix(v.path+"."+field, "."), line: v.line}
	f.wrong("missing: accepted is " + accepted)
}

// fields are the fields that a mapping may have and what decodes each.
type fields map[string]func(value)

// ignore accepts any value: what Kubernetes writes and we do not need.
func ignore(value) {}

// fields decodes a mapping strictly: a field that the table does not have, or
// a second of the same name, is refused. null is the same as absence.
func (v value) fields(table fields) {
	if v.n.Kind != yaml.MappingNode {
		v.refuse("a mapping")
		return
	}
	seen := make(map[string]bool, len(v.n.Content)/2)
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, n := v.n.Content[i], v.n.Content[i+1]
		f := value{s: v.s, n: n, path: strings.TrimPrefix(v.path+"."+clip(k.Value), "."), line: k.Line}
		decode, ok := table[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode || !ok:
			f.wrong("unknown field: accepted is " + strings.Join(slices.Sorted(maps.Keys(table)), ", "))
		case seen[k.Value]:
			f.wrong("given twice: accepted is once")
		case !isNull(n):
			decode(f)
		}
		seen[k.Value] = true
	}
}

// each decodes a list of at most max values.
func (v value) each(max int, decode func(i int, v value)) {
	if v.n.Kind != yaml.SequenceNode {
		v.refuse("a list")
		return
	}
	if len(v.n.Content) > max {
		v.wrong(fmt.Sprintf("a list of %d: accepted is at most %d", len(v.n.Content), max))
		return
	}
	for i, n := range v.n.Content {
		decode(i, value{s: v.s, n: n, path: v.path + "[" + strconv.Itoa(i) + "]", line: n.Line})
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// isString reports whether n is text. A date is: JSON has no other way for it.
func isString(n *yaml.Node) bool {
	tag := n.ShortTag()
	return n.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!!timestamp")
}

// text decodes a string that valid accepts.
func text(dst *string, valid func(string) bool, accepted string) func(value) {
	return func(v value) {
		if !isString(v.n) || valid != nil && !valid(v.n.Value) {
			v.refuse(accepted)
			return
		}
		*dst = v.n.Value
	}
}

// oneOf decodes a string that is one of those accepted.
func oneOf(dst *string, accepted ...string) func(value) {
	return text(dst, func(s string) bool { return slices.Contains(accepted, s) }, strings.Join(accepted, ", "))
}

// boolean decodes true or false.
func boolean(dst *bool) func(value) {
	return func(v value) {
		if v.n.ShortTag() != "!!bool" || v.n.Decode(dst) != nil {
			v.refuse("true or false")
		}
	}
}

// integer decodes a whole number from min to max.
func integer[T int | uint16 | uint32](dst *T, min, max T) func(value) {
	return func(v value) {
		var n int64
		if v.n.ShortTag() != "!!int" || v.n.Decode(&n) != nil || n < int64(min) || n > int64(max) {
			v.refuse(fmt.Sprintf("a whole number from %d to %d", min, max))
			return
		}
		*dst = T(n)
	}
}

// number decodes a number from min to max.
func number(dst *float64, min, max float64) func(value) {
	return func(v value) {
		var f float64
		tag := v.n.ShortTag()
		if tag != "!!int" && tag != "!!float" || v.n.Decode(&f) != nil || math.IsNaN(f) || f < min || f > max {
			v.refuse(fmt.Sprintf("a number from %g to %g", min, max))
			return
		}
		*dst = f
	}
}

// duration decodes a Go duration string from min to max.
func duration(dst *time.Duration, min, max time.Duration) func(value) {
	return func(v value) {
		d, err := time.ParseDuration(v.n.Value)
		if !isString(v.n) || err != nil || d < min || d > max {
			v.refuse(fmt.Sprintf("a duration from %q to %q, such as \"250ms\" or \"1m30s\"", short(min), short(max)))
			return
		}
		*dst = d
	}
}

// short writes a duration without its zero minutes and seconds.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// stringMap decodes a mapping from strings to strings.
func stringMap(dst *map[string]string) func(value) {
	return func(v value) {
		if v.n.Kind != yaml.MappingNode {
			v.refuse("a mapping")
			return
		}
		m := make(map[string]string, len(v.n.Content)/2)
		for i := 0; i+1 < len(v.n.Content); i += 2 {
			k, n := v.n.Content[i], v.n.Content[i+1]
			if !isString(k) || !isString(n) {
				value{s: v.s, n: n, path: v.path + "." + clip(k.Value), line: k.Line}.refuse("a string")
				continue
			}
			m[k.Value] = n.Value
		}
		*dst = m
	}
}
