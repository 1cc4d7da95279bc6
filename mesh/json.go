package mesh

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"go.yaml.in/yaml/v3"
)

// toJSON writes a node without aliases as JSON, the fields of mappings in
// alphabetical order.
func toJSON(n *yaml.Node) json.RawMessage {
	b, err := json.Marshal(plain(n))
	if err != nil {
		// plain makes nothing that JSON cannot hold.
		panic(fmt.Sprintf("mesh: %v", err))
	}
	return yamlSafe(b)
}

// plain turns a node into what encoding/json writes.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, c := range n.Content {
			l[i] = plain(c)
		}
		return l
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
	return n.Value
}

// yamlSafe escapes the few characters that JSON has plain and YAML refuses
// (YAML 1.2 section 5.1), so that Parse reads what toJSON wrote.
func yamlSafe(b []byte) []byte {
	special := func(r rune) bool {
		return r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff
	}
	if !strings.ContainsFunc(string(b), special) {
		return b
	}
	var out strings.Builder
	for _, r := range string(b) {
		if special(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return []byte(out.String())
}
