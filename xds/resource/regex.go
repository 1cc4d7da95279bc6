package resource

import (
	"fmt"
	"regexp"
)

// A Regex is a regular expression of RE2 that has to match the whole of a
// value (envoy.type.matcher.v3.RegexMatcher). Make it with NewRegex.
type Regex struct {
	Source string
	re     *regexp.Regexp
}

// NewRegex compiles an expression of RE2's syntax.
func NewRegex(source string) (*Regex, error) {
	re, err := regexp.Compile(`\A(?:` + source + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%q is not valid, want a regular expression of RE2: %w", source, err)
	}
	return &Regex{source, re}, nil
}

// Match reports whether the whole of v matches.
func (r *Regex) Match(v []byte) bool { return r.re.Match(v) }
