package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// percent decodes 0 to 100 as a share.
func percent(dst *float64) func(value) {
	return func(v value) {
		p := 100 * *dst
		number(&p, 0, 100)(v)
		*dst = p / 100
	}
}

// one decodes a mapping that has exactly one of the fields in table, and any of
// the others.
func one(v value, table, other fields) {
	given := 0
	all := fields{}
	for name, decode := range table {
		all[name] = func(v value) { given++; decode(v) }
	}
	for name, decode := range other {
		all[name] = decode
	}
	v.fields(all)
	if given != 1 && v.n.Kind == yaml.MappingNode {
		v.wrong(fmt.Sprintf("says %d of %s: accepted is exactly one", given, words(table)))
	}
}

// words lists the names of fields.
func words(table fields) string {
	names := slices.Sorted(maps.Keys(table))
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
