package server

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Verdicts are what a client has said of the resources of one type. A refusal
// holds until the client accepts a newer version of what it refused, or has it no
// more: an answer to other resources says nothing of it.
type verdicts struct {
	has     func(name string) bool // whether the client has been told of such a resource
	sent    map[string]uint64      // by name, the nonce of the response that a resource was last in
	refused map[string]string      // why resources were
}

func newVerdicts(has func(string) bool) *verdicts {
	return &verdicts{
		has:  func(name string) bool { return name == "" || has(name) },
		sent: map[string]uint64{}, refused: map[string]string{},
	}
}

// tell notes what a response has. The empty name stands for what it takes away,
// which a client may refuse as well.
func (v *verdicts) tell(nonce uint64, names ...string) {
	v.sent[""] = nonce
	for _, n := range names {
		v.sent[n] = nonce
	}
}

// hear takes the client's answer to a response: why it refused it, or nothing.
// Of a refused one those resources are meant that why names, else all.
func (v *verdicts) hear(nonce uint64, why string) {
	var all, named []string
	for n, in := range v.sent {
		if !v.has(n) {
			delete(v.sent, n)
		} else if in == nonce {
			delete(v.refused, n)
			all = append(all, n)
			if n != "" && names(why, n) {
				named = append(named, n)
			}
		}
	}
	if why == "" {
		return
	}
	if len(named) == 0 {
		named = all
	}
	for _, n := range named {
		v.refused[n] = why
	}
}

// why is the newest refusal that holds; empty: there is none.
func (v *verdicts) why() (text string) {
	var newest uint64
	for n, why := range v.refused {
		if !v.has(n) {
			delete(v.refused, n)
		} else if in := v.sent[n]; in > newest || in == newest && why > text {
			newest, text = in, why
		}
	}
	return text
}

// names reports whether a text has a name, which is not just a part of another one.
func names(text, name string) bool {
	for {
		before, after, ok := strings.Cut(text, name)
		if !ok {
			return false
		}
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if !wordly(last) && !wordly(next) {
			return true
		}
		text = after
	}
}

func wordly(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
