package page

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
)

// A tab is a page of the browser. What its console says that is worse than
// information, what it throws and what its policy refuses are complaints.
type tab struct {
	t       testing.TB
	b       *browser
	base    string
	session string

	mu         sync.Mutex
	complaints []string
	expected   string // a complaint that is none, whenever it comes
}

type object = map[string]any

func newTab(t testing.TB, base string) *tab {
	t.Helper()
	tb := &tab{t: t, base: base}
	tb.b = newBrowser(t, tb.event)
	var target struct{ TargetID string }
	tb.must("", "Target.createTarget", object{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	tb.must("", "Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &session)
	tb.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tb.do(domain+".enable", nil, nil)
	}
	return tb
}

// run is t.Run for a part of the test that uses the tab.
func (tb *tab) run(t *testing.T, name string, part func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		whole := tb.t
		tb.t = t
		defer func() { tb.t = whole }()
		part(t)
	})
}

func (tb *tab) must(session, method string, params, result any) {
	tb.t.Helper()
	if err := tb.b.call(session, method, params, result); err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *tab) do(method string, params, result any) {
	tb.t.Helper()
	tb.must(tb.session, method, params, result)
}

func (tb *tab) event(_, method string, params json.RawMessage) {
	var p struct {
		Type             string
		Args             []struct{ Value, Description any }
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return
	}
	complaint := ""
	switch method {
	case "Runtime.consoleAPICalled":
		if p.Type == "error" || p.Type == "warning" || p.Type == "assert" {
			complaint = fmt.Sprint(p.Type, " ", p.Args)
		}
	case "Runtime.exceptionThrown":
		complaint = p.ExceptionDetails.Text + " " + p.ExceptionDetails.Exception.Description
	case "Log.entryAdded":
		if p.Entry.Level == "error" || p.Entry.Level == "warning" {
			complaint = p.Entry.Text + " " + p.Entry.URL
		}
	}
	if complaint != "" && complaint != tb.expected {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		tb.complaints = append(tb.complaints, complaint)
	}
}

// complained is what there is since the last time, and forgets it.
func (tb *tab) complained() []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	out := tb.complaints
	tb.complaints = nil
	return out
}

// open goes to a path, and waits until it is there.
func (tb *tab) open(path string) {
	tb.t.Helper()
	var loaded struct{ ErrorText string }
	tb.do("Page.navigate", object{"url": tb.base + path}, &loaded)
	if loaded.ErrorText != "" {
		tb.t.Fatalf("%s: %s", path, loaded.ErrorText)
	}
	tb.await("document.readyState === 'complete' && location.href !== 'about:blank' && document.getElementById('main') !== null")
}

// look is the size of the screen and its colours.
type look struct {
	width int
	dark  bool
}

func (l look) String() string {
	if l.dark {
		return fmt.Sprintf("dark-%d", l.width)
	}
	return fmt.Sprintf("light-%d", l.width)
}

func (tb *tab) wear(l look) {
	tb.t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	tb.do("Emulation.setDeviceMetricsOverride", object{"width": l.width, "height": 900, "deviceScaleFactor": 1, "mobile": l.width < 600}, nil)
	tb.do("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// eval is the value of an expression, or of what it promises.
func (tb *tab) eval(expression string, result any) error {
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := tb.b.call(tb.session, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &out)
	switch {
	case err != nil:
		return err
	case out.ExceptionDetails != nil:
		return fmt.Errorf("%.200s: %s %s", expression, out.ExceptionDetails.Text, out.ExceptionDetails.Exception.Description)
	case result == nil || len(out.Result.Value) == 0:
		return nil
	}
	return json.Unmarshal(out.Result.Value, result)
}

// await waits until an expression is true.
func (tb *tab) await(condition string) {
	tb.t.Helper()
	process.Await(tb.t, patience, func() error {
		var ok bool
		// The page waits a little, so that asking does not keep it busy.
		if err := tb.eval("new Promise(done => setTimeout(done, 30)).then(() => Boolean("+condition+"))", &ok); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("not so: %s; the page says %.600s", condition, tb.text())
		}
		return nil
	})
}

func (tb *tab) text() string {
	var s string
	if err := tb.eval("document.body ? document.body.innerText : ''", &s); err != nil {
		return err.Error()
	}
	return s
}

// shot keeps a picture of the whole page.
func (tb *tab) shot(name string) {
	tb.t.Helper()
	var picture struct{ Data string }
	tb.do("Page.captureScreenshot", object{"format": "png", "captureBeyondViewport": true}, &picture)
	b, err := base64.StdEncoding.DecodeString(picture.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(shots(tb.t), name+".png"), b, 0o644)
	}
	if err != nil {
		tb.t.Fatal(err)
	}
}

// key presses and releases one.
func (tb *tab) key(name string, code int, text string) {
	tb.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := object{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		tb.do("Input.dispatchKeyEvent", p, nil)
	}
}

// faults runs axe and returns what it finds serious or critical.
func (tb *tab) faults(axe string) []string {
	tb.t.Helper()
	if err := tb.eval("if (!window.axe) {"+axe+"\n}", nil); err != nil {
		tb.t.Fatal(err)
	}
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	if err := tb.eval(`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`, &found); err != nil {
		tb.t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		if f.Impact != "serious" && f.Impact != "critical" {
			continue
		}
		var at []string
		for _, n := range f.Nodes[:min(len(f.Nodes), 3)] {
			at = append(at, fmt.Sprintf("%.200s (%s)", n.HTML, n.FailureSummary))
		}
		out = append(out, fmt.Sprintf("%s, %s: %s: %s", f.Impact, f.ID, f.Help, strings.Join(at, "; ")))
	}
	return out
}
