package server

import "testing"

func TestVerdicts(t *testing.T) {
	has := map[string]bool{}
	v := newVerdicts(func(name string) bool { return has[name] })
	tell := func(nonce uint64, names ...string) {
		for _, n := range names {
			has[n] = true
		}
		v.tell(nonce, names...)
	}
	expect := func(what, want string) {
		t.Helper()
		if got := v.why(); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	// Of three in one response two are named: the third needs no newer version.
	tell(1, "x:80", "x:8080", "y:80")
	v.hear(1, `cluster "x:8080": no; cluster "y:80": no`)
	expect("refused", `cluster "x:8080": no; cluster "y:80": no`)
	tell(2, "x:8080")
	v.hear(2, "")
	expect("one of two", `cluster "x:8080": no; cluster "y:80": no`)
	tell(3, "y:80")
	expect("not answered yet", `cluster "x:8080": no; cluster "y:80": no`)
	tell(4, "x:80")
	v.hear(3, "")
	expect("both, while another one is under way", "")
	v.hear(4, "never")
	expect("the newest", "never")

	// None is named: all are meant.
	tell(5, "x:80", "y:80")
	v.hear(5, "bad")
	tell(6, "x:80")
	v.hear(6, "")
	expect("half", "bad")
	has["y:80"] = false
	expect("and the other half gone", "")

	// A response that takes away has nothing that could be sent again.
	tell(7)
	v.hear(7, "it stays")
	expect("no names", "it stays")
	tell(8)
	v.hear(8, "")
	expect("no names, the next one", "")
}
