package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// A span is one as Jaeger tells it, on /api/traces.
type span struct {
	ID, Parent string
	Name       string
	Service    string
	Instance   string
	Start      int64 // µs since 1970
	Duration   int64 // µs
	Tags       map[string]any
	Events     []string // the names
}

type keyValue struct {
	Key   string
	Value any
}

func tags(list []keyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range list {
		out[kv.Key] = kv.Value
	}
	return out
}

// trace reads one from Jaeger.
func (b *backends) trace(id string) ([]span, error) {
	var answer struct {
		Data []struct {
			Spans []struct {
				SpanID, OperationName, ProcessID string
				References                       []struct{ RefType, TraceID, SpanID string }
				StartTime, Duration              int64
				Tags                             []keyValue
				Logs                             []struct{ Fields []keyValue }
			}
			Processes map[string]struct {
				ServiceName string
				Tags        []keyValue
			}
		}
	}
	if err := b.get(jaegerURL+"/api/traces/"+id, &answer); err != nil {
		return nil, err
	}
	if len(answer.Data) != 1 {
		return nil, fmt.Errorf("Jaeger has %d traces %s", len(answer.Data), id)
	}
	var out []span
	for _, s := range answer.Data[0].Spans {
		of := answer.Data[0].Processes[s.ProcessID]
		got := span{ID: s.SpanID, Name: s.OperationName, Service: of.ServiceName, Start: s.StartTime, Duration: s.Duration, Tags: tags(s.Tags)}
		got.Instance, _ = tags(of.Tags)["service.instance.id"].(string)
		for _, r := range s.References {
			if r.RefType != "CHILD_OF" || r.TraceID != id || got.Parent != "" {
				return nil, fmt.Errorf("span %s refers to %+v", s.SpanID, s.References)
			}
			got.Parent = r.SpanID
		}
		for _, l := range s.Logs {
			name, _ := tags(l.Fields)["event"].(string)
			got.Events = append(got.Events, name)
		}
		out = append(out, got)
	}
	return out, nil
}

// A node is a span with those below it.
type node struct {
	span
	below []*node
}

// tree puts the spans of one trace together: each but one has its parent among
// them.
func tree(spans []span) (*node, error) {
	byID := map[string]*node{}
	for _, s := range spans {
		if byID[s.ID] != nil {
			return nil, fmt.Errorf("two spans %s:\n%s", s.ID, show(spans))
		}
		byID[s.ID] = &node{span: s}
	}
	var root *node
	for _, s := range spans {
		n := byID[s.ID]
		switch parent := byID[s.Parent]; {
		case parent != nil:
			parent.below = append(parent.below, n)
		case root != nil || s.Parent != "":
			return nil, fmt.Errorf("span %s of %s has no parent:\n%s", s.ID, s.Instance, show(spans))
		default:
			root = n
		}
	}
	if root == nil {
		return nil, fmt.Errorf("no span without a parent:\n%s", show(spans))
	}
	return root, nil
}

// awaitTree waits until a trace is what ok wants of it.
func (b *backends) awaitTree(t testing.TB, id string, ok func(root *node) error) {
	t.Helper()
	process.Await(t, 30*time.Second, func() error {
		spans, err := b.trace(id)
		if err != nil {
			return err
		}
		root, err := tree(spans)
		if err != nil {
			return err
		}
		if err := ok(root); err != nil {
			return fmt.Errorf("%w; the tree is\n%s", err, root.outline())
		}
		return nil
	})
}

// is wants an outline. Which of cart's instances a call goes to is not known:
// the first in the tree is cart-A, another one cart-B.
func is(want string) func(*node) error {
	return func(root *node) error {
		got := root.outline()
		a, b := "cart-0", "cart-1"
		if i := strings.Index(got, b); i >= 0 && (i < strings.Index(got, a) || !strings.Contains(got, a)) {
			a, b = b, a
		}
		if strings.NewReplacer(a, "cart-A", b, "cart-B").Replace(got) != want {
			return fmt.Errorf("want the tree\n%s", want)
		}
		return nil
	}
}

// outline is the tree in one line a span, for comparing: kind, instance, and
// what is said about attempts.
func (n *node) outline() string {
	var b strings.Builder
	n.write(&b, "")
	return b.String()
}

func (n *node) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%v %s", indent, n.Tags["span.kind"], cmp.Or(n.Instance, n.Name))
	if n.Tags["network.peer.address"] != nil {
		b.WriteString(" attempt")
	}
	for _, key := range []string{"http.response.status_code", "http.request.resend_count", "meshd.retry.reason", "error.type"} {
		if v := n.Tags[key]; v != nil {
			fmt.Fprintf(b, " %s=%v", key[strings.LastIndexByte(key, '.')+1:], v)
		}
	}
	for _, e := range n.Events {
		fmt.Fprintf(b, " [%s]", e)
	}
	b.WriteByte('\n')
	slices.SortFunc(n.below, func(a, b *node) int { return cmp.Compare(a.Start, b.Start) })
	for _, c := range n.below {
		c.write(b, indent+"  ")
	}
}

func show(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s below %q: %s of %s, %v\n", s.ID, s.Parent, s.Name, s.Instance, s.Tags)
	}
	return b.String()
}

// newest is the trace that began last of those with spans of a service.
func (b *backends) newest(service string) (id string, err error) {
	var answer struct {
		Data []struct {
			TraceID string
			Spans   []struct{ StartTime int64 }
		}
	}
	if err := b.get(jaegerURL+"/api/traces?limit=1000&lookback=1h&service="+service, &answer); err != nil {
		return "", err
	}
	var at int64
	for _, tr := range answer.Data {
		for _, s := range tr.Spans {
			if s.StartTime > at {
				at, id = s.StartTime, tr.TraceID
			}
		}
	}
	if id == "" {
		err = fmt.Errorf("Jaeger has no trace of %s", service)
	}
	return id, err
}
