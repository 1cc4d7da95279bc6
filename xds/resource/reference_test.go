package resource

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

var update = flag.Bool("update", false, "write docs/reference/xds-fields.md")

const referenceFile = "../../docs/reference/xds-fields.md"

const referenceHead = `# The xDS that a sidecar reads, field by field

Written by ` + "`go test ./xds/resource -run TestReference -update`" + ` from the tables that the decoder runs on.

*Read*: it has effect. *Only false or 0*: accepted at that value. *Passed over*: nothing that a
sidecar does depends on it. *Refused*: it would change what a call does, and a sidecar cannot do it;
the resource is NACKed with its name, the field and the value, and the last good version stays. A
field that is in no list is refused too.
`

// TestReference: the page says what the tables say.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, m := range tables {
		if strings.HasPrefix(m.name, "google.protobuf.") {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", m.name)
		for _, group := range []struct {
			title    string
			verdicts []verdict
		}{
			{"Read", []verdict{num, nums, float, text, texts, msg, msgs}},
			{"Only false or 0", []verdict{off, zero}},
			{"Passed over", []verdict{skip}},
			{"Refused", []verdict{deny, denyText}},
		} {
			var names []string
			for _, n := range slices.Sorted(maps.Keys(m.fields)) {
				if f := m.fields[protowire.Number(n)]; slices.Contains(group.verdicts, f.verdict) {
					names = append(names, "`"+f.name+"`")
				}
			}
			if len(names) > 0 {
				fmt.Fprintf(&b, "- %s: %s\n", group.title, strings.Join(names, ", "))
			}
		}
	}
	if *update {
		if err := os.WriteFile(referenceFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the tables say (%v); run the test with -update", referenceFile, err)
	}
}
