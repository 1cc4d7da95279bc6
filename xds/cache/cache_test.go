package cache

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const typ = "type"

func key(name string) Key { return Key{Type: typ, Name: name} }

// view has a resource for each name, and counts how often one is made.
func view(made *int, content map[string]string) View {
	return View{
		Resource: func(k Key) *anypb.Any {
			if made != nil {
				*made++
			}
			if v, ok := content[k.Name]; ok {
				return &anypb.Any{TypeUrl: k.Type, Value: []byte(v)}
			}
			return nil
		},
		Names: func(string) []string { return slices.Sorted(maps.Keys(content)) },
	}
}

// take is what a Subscriber is told, as text.
func take(s *Subscriber) string {
	var out []string
	for _, ch := range s.Take() {
		if ch.Resource == nil {
			out = append(out, "-"+ch.Key.Name)
		} else {
			out = append(out, ch.Key.Name+"="+string(ch.Resource.Body.Value))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func expect(t *testing.T, s *Subscriber, want string) {
	t.Helper()
	select {
	case <-s.Changed():
		if want == "" {
			t.Error("a token for nothing")
		}
	default:
		if want != "" {
			t.Error("no token")
		}
	}
	if got := take(s); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestByName(t *testing.T) {
	made := 0
	c := New()
	c.Set(view(&made, map[string]string{"a": "1", "b": "1"}))
	if made != 0 {
		t.Errorf("%d resources made for nobody", made)
	}
	s, other := c.Subscribe(), c.Subscribe()
	s.Add(key("a"), key("none"))
	other.Add(key("a"))
	if made != 2 {
		t.Errorf("%d resources made, want 2: the second subscriber shares", made)
	}
	expect(t, s, "-none a=1")
	expect(t, other, "a=1")
	if n := c.Set(view(nil, map[string]string{"a": "1", "b": "2"})); n != 0 {
		t.Errorf("%d changed, want 0", n)
	}
	expect(t, s, "")
	// Two changes before a Take are one.
	c.Set(view(nil, map[string]string{"a": "2"}))
	c.Set(view(nil, map[string]string{"a": "3", "none": "x"}))
	expect(t, s, "a=3 none=x")
	s.Remove(key("a"))
	c.Set(view(nil, nil))
	expect(t, s, "-none")
	expect(t, other, "-a")
	if got := s.Get(key("a"), key("none")); len(got) != 1 || got[0].Resource != nil {
		t.Errorf("Get = %v", got)
	}
	s.Close()
	other.Close()
	if c.Len() != 0 {
		t.Errorf("%d resources kept for nobody", c.Len())
	}
}

func TestWildcard(t *testing.T) {
	c := New()
	c.Set(view(nil, map[string]string{"a": "1", "b": "1"}))
	s := c.Subscribe()
	s.AddAll(typ, "")
	expect(t, s, "a=1 b=1")
	s.Add(key("b"))
	expect(t, s, "b=1")
	c.Set(view(nil, map[string]string{"b": "2", "c": "1"}))
	expect(t, s, "-a b=2 c=1")
	// A pending change of what is only there by the wildcard goes with it.
	c.Set(view(nil, map[string]string{"b": "3", "c": "2"}))
	s.RemoveAll(typ, "")
	expect(t, s, "b=3")
	s.AddAll(typ, "")
	s.Remove(key("b"))
	expect(t, s, "b=3 c=2")
	s.Close()
	if c.Len() != 0 || len(c.wild) != 0 {
		t.Errorf("%d resources and %d wildcards kept for nobody", c.Len(), len(c.wild))
	}
}

// Versions follow content alone.
func TestVersion(t *testing.T) {
	a := build(view(nil, map[string]string{"a": "1"}), key("a"), nil)
	b := build(view(nil, map[string]string{"b": "1"}), key("b"), nil)
	c := build(view(nil, map[string]string{"c": "2"}), key("c"), nil)
	if a.Version != b.Version || a.Version == c.Version {
		t.Errorf("versions %s %s %s", a.Version, b.Version, c.Version)
	}
}

// Whoever subscribes while the view changes ends with the newest.
func TestConcurrent(t *testing.T) {
	c := New()
	const last = 200
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range last + 1 {
			c.Set(view(nil, map[string]string{"a": fmt.Sprint(i)}))
		}
	})
	for range 8 {
		wg.Go(func() {
			for {
				s := c.Subscribe()
				s.Add(key("a"))
				var seen string
				for range 10 {
					<-s.Changed()
					if seen = take(s); seen == fmt.Sprint("a=", last) {
						s.Close()
						return
					}
				}
				s.Close()
			}
		})
	}
	wg.Wait()
}

func BenchmarkSet(b *testing.B) {
	const n = 10_000
	content := map[string]string{}
	c := New()
	s := c.Subscribe()
	for i := range n {
		name := fmt.Sprint(i)
		content[name] = strings.Repeat("x", 500)
		s.Add(key(name))
	}
	for i := 0; b.Loop(); i++ {
		content["0"] = fmt.Sprint(i)
		c.Set(view(nil, content))
		s.Take()
	}
}

// Refresh makes what it is told again, and nothing else.
func TestRefresh(t *testing.T) {
	made, content := 0, map[string]string{"a": "1", "b": "1"}
	c := New()
	c.Set(view(&made, content))
	s, other := c.Subscribe(), c.Subscribe()
	defer s.Close()
	defer other.Close()
	s.Add(key("a"), key("x"))
	other.Add(key("b"))
	take(s)
	take(other)
	content["a"], content["b"], content["x"] = "2", "2", "2"
	made = 0
	if n := c.Refresh(key("a"), key("x"), key("nobody's")); n != 2 {
		t.Errorf("%d changed", n)
	}
	if made != 2 {
		t.Errorf("%d were made", made)
	}
	if got := take(s); got != "a=2 x=2" {
		t.Errorf("told %q", got)
	}
	select {
	case <-other.Changed():
		t.Error("somebody else was woken")
	default:
	}
	if n := c.Refresh(key("a")); n != 0 {
		t.Errorf("the same: %d changed", n)
	}
}
