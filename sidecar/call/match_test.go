package call

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/meshd/meshd/xds/resource"
)

func regex(t testing.TB, source string) *resource.Regex {
	re, err := resource.NewRegex(source)
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func TestMatchPath(t *testing.T) {
	exact, prefix, segments, all := resource.Route{Path: "/a"}, resource.Route{Prefix: "/a"}, resource.Route{Prefix: "/a", Separated: true}, resource.Route{Prefix: "/"}
	for _, c := range []struct {
		path                         string
		exact, prefix, segments, all bool
	}{
		{"/a", true, true, true, true},
		{"/a?b=/c", true, true, true, true},
		{"/a/", false, true, true, true},
		{"/a/b?c", false, true, true, true},
		{"/ab", false, true, false, true},
		{"/A", false, false, false, true},
		{"/", false, false, false, true},
		{"?/a", false, false, false, true},
		{"*", false, false, false, true}, // OPTIONS
		{"", false, false, false, true},
	} {
		for name, r := range map[string]struct {
			route *resource.Route
			want  bool
		}{"exact": {&exact, c.exact}, "prefix": {&prefix, c.prefix}, "segments": {&segments, c.segments}, "all": {&all, c.all}} {
			if got := matchPath(r.route, []byte(c.path)); got != r.want {
				t.Errorf("%s of %q: %v", name, c.path, got)
			}
		}
	}
}

func TestMatchHeaders(t *testing.T) {
	req := request{headers: map[string]string{"a": "value", "empty": ""}} // and the method GET
	for _, c := range []struct {
		match []resource.HeaderMatch
		want  bool
	}{
		{nil, true},
		{[]resource.HeaderMatch{{Name: "a", Exact: "value"}}, true},
		{[]resource.HeaderMatch{{Name: "a", Exact: "Value"}}, false},
		{[]resource.HeaderMatch{{Name: "a", Exact: "value"}, {Name: "b", Exact: "value"}}, false},
		{[]resource.HeaderMatch{{Name: "empty"}}, true},
		{[]resource.HeaderMatch{{Name: "a", Prefix: "val"}}, true},
		{[]resource.HeaderMatch{{Name: "a", Prefix: "values"}}, false},
		{[]resource.HeaderMatch{{Name: "a", Regex: regex(t, "v.*")}}, true},
		{[]resource.HeaderMatch{{Name: "a", Regex: regex(t, "v")}}, false}, // of the whole value
		{[]resource.HeaderMatch{{Name: "a", Present: true}}, true},
		{[]resource.HeaderMatch{{Name: "empty", Present: true}}, true},
		{[]resource.HeaderMatch{{Name: "b", Present: true}}, false},
		{[]resource.HeaderMatch{{Name: "b", Present: true, Invert: true}}, true},
		{[]resource.HeaderMatch{{Name: "a", Present: true, Invert: true}}, false},
		{[]resource.HeaderMatch{{Name: "a", Exact: "x", Invert: true}}, true},
		{[]resource.HeaderMatch{{Name: "b", Exact: "x", Invert: true}}, false}, // as in Envoy
		{[]resource.HeaderMatch{{Name: ":method", Exact: "GET"}}, true},
		{[]resource.HeaderMatch{{Name: ":method", Exact: "get"}}, false},
	} {
		if got := matchHeaders(c.match, req); got != c.want {
			t.Errorf("%+v: %v", c.match, got)
		}
	}
}

func TestMatchQuery(t *testing.T) {
	for _, c := range []struct {
		target string
		match  []resource.QueryMatch
		want   bool
	}{
		{"/", nil, true},
		{"/?q=1", []resource.QueryMatch{{Name: "q", Exact: "1"}}, true},
		{"/?q=12", []resource.QueryMatch{{Name: "q", Exact: "1"}}, false},
		{"/?q=2&q=1", []resource.QueryMatch{{Name: "q", Exact: "1"}}, false}, // the first counts
		{"/?qq=1", []resource.QueryMatch{{Name: "q", Present: true}}, false},
		{"/?a&q", []resource.QueryMatch{{Name: "q", Present: true}}, true},
		{"/q=1", []resource.QueryMatch{{Name: "q", Present: true}}, false},
		{"/?q=abc", []resource.QueryMatch{{Name: "q", Regex: regex(t, "a.*")}}, true},
		{"/?q=abc", []resource.QueryMatch{{Name: "q", Regex: regex(t, "b")}}, false},
		{"/?q=1&r=2", []resource.QueryMatch{{Name: "q", Exact: "1"}, {Name: "r", Exact: "1"}}, false},
	} {
		if got := matchQuery(c.match, request{target: c.target}); got != c.want {
			t.Errorf("%+v of %s: %v", c.match, c.target, got)
		}
	}
}

// plain fails the test if a request is looked into.
type plain struct {
	request
	t *testing.T
}

func (p plain) Header(string) []byte {
	p.t.Error("a header is looked at")
	return nil
}

// Routes by path alone look at nothing else, and no match of text allocates.
func TestMatchAllocates(t *testing.T) {
	path, value := []byte("/shop/cart?id=1"), []byte("canary")
	var req Request = &plain{t: t}
	byPath := &Authority{Routes: []*Route{{Route: resource.Route{Path: "/x"}}, {Route: resource.Route{Prefix: "/shop/"}}}}
	if n := testing.AllocsPerRun(100, func() { byPath.Match(path, req) }); n != 0 {
		t.Errorf("%v allocations for a match by path", n)
	}
	var fixed Request = fixedRequest{value}
	headers := []resource.HeaderMatch{{Name: "a", Exact: "canary"}, {Name: "a", Prefix: strings.Repeat("x", 100), Invert: true}}
	query := []resource.QueryMatch{{Name: "id", Exact: "canary", Present: true}}
	if n := testing.AllocsPerRun(100, func() { matchHeaders(headers, fixed); matchQuery(query, fixed) }); n != 0 {
		t.Errorf("%v allocations for a match by header and query", n)
	}
}

type fixedRequest struct{ value []byte }

func (f fixedRequest) Method() []byte       { return f.value }
func (f fixedRequest) Header(string) []byte { return f.value }
func (f fixedRequest) Target() []byte       { return f.value }
func (f fixedRequest) Source() netip.Addr   { return netip.Addr{} }

// FuzzMatch compares with what the standard library makes of the same.
func FuzzMatch(f *testing.F) {
	f.Add("/a/b?q=1&r", "/a", "q", "v", "v.*")
	f.Add("", "/", "", "", "")
	f.Add("/a//b", "/a/", "b", "\xff", "(x|y)*")
	f.Fuzz(func(t *testing.T, target, prefix, name, value, source string) {
		path, query, _ := strings.Cut(target, "?")
		if prefix != "" {
			r := resource.Route{Prefix: prefix, Separated: true}
			want := prefix == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
			if got := matchPath(&r, []byte(target)); got != want {
				t.Errorf("segments %q of %q: %v", prefix, target, got)
			}
		}
		req := request{headers: map[string]string{"h": value}, target: target}
		for _, exact := range []string{value, name} {
			if got := matchHeaders([]resource.HeaderMatch{{Name: "h", Exact: exact}}, req); got != (value == exact) {
				t.Errorf("header %q, want %q: %v", value, exact, got)
			}
		}
		if re, err := resource.NewRegex(source); err == nil {
			want := regexp.MustCompile(`\A(?:` + source + `)\z`).MatchString(value)
			if got := matchHeaders([]resource.HeaderMatch{{Name: "h", Regex: re}}, req); got != want {
				t.Errorf("header %q, want %q: %v", value, source, got)
			}
		}
		want := false
		query, _, _ = strings.Cut(query, "#")
		for pair := range strings.SplitSeq(query, "&") {
			key, _, _ := strings.Cut(pair, "=")
			want = want || pair != "" && key == name
		}
		if got := matchQuery([]resource.QueryMatch{{Name: name, Present: true}}, req); got != want {
			t.Errorf("parameter %q of %q: %v", name, target, got)
		}
	})
}
