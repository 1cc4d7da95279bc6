package mesh

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The examples of the reference are right, and that of TrafficPolicy says the
// defaults, as it claims.
func TestReferenceExamples(t *testing.T) {
	doc, err := os.ReadFile("../docs/reference/objects.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]bool)
	blocks := strings.Split(string(doc), "```yaml\n")
	for _, block := range blocks[1:] {
		example, _, _ := strings.Cut(block, "```")
		for _, o := range mustParse(t, example) {
			kinds[o.Head().Kind] = true
			if p, ok := o.(*TrafficPolicy); ok && p.Name == "checkout" {
				want := DefaultPolicy()
				want.TraceRatio = 0.01
				if !reflect.DeepEqual(p.Policy, want) {
					t.Errorf("example is\n%+v\ndefaults are\n%+v", p.Policy, want)
				}
			}
		}
	}
	if !reflect.DeepEqual(kinds, map[string]bool{KindService: true, KindEndpointSlice: true, KindTrafficPolicy: true, KindHTTPRoute: true, KindGRPCRoute: true}) {
		t.Errorf("examples of %v", kinds)
	}
	// The error that the reference quotes is the one that is given.
	bad := strings.Repeat("\n", 5) + "apiVersion: meshd.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: checkout, namespace: shop}\n" +
		"spec:\n  targetRefs:\n  - {kind: Service, name: checkout}\n  balancer: fastest\n"
	_, errs := Parse("shop.yaml", []byte(bad))
	if len(errs) != 1 || !strings.Contains(string(doc), "    "+errs[0].Error()+"\n") {
		t.Errorf("the reference does not quote %v", errs)
	}
}

// The reference lists every word by which a port says what it speaks, in the
// row of its protocol.
func TestReferenceProtocols(t *testing.T) {
	doc, err := os.ReadFile("../docs/reference/objects.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "### What a port speaks\n\n")
	rows := strings.Split(section, "\n")[2:5]
	listed := 0
	for i, p := range []Protocol{ProtocolHTTP1, ProtocolHTTP2, ProtocolTCP} {
		words, _, _ := strings.Cut(rows[i][2:], " | ")
		for _, word := range strings.FieldsFunc(words, func(r rune) bool { return strings.ContainsRune("`,; ", r) }) {
			listed++
			if protocolWords[word] != p {
				t.Errorf("%q is %v, the reference has it with %v", word, protocolWords[word], p)
			}
		}
	}
	if listed != len(protocolWords) {
		t.Errorf("the reference has %d words of %d", listed, len(protocolWords))
	}
}
