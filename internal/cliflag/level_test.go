package cliflag

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLevel(t *testing.T) {
	var out bytes.Buffer
	log, level, err := Logger(&out, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, target string) string {
		w := httptest.NewRecorder()
		level.ServeHTTP(w, httptest.NewRequest(method, target, nil))
		if w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: Content-Type %q", method, target, w.Header().Get("Content-Type"))
		}
		return w.Result().Status[:3] + " " + strings.TrimSpace(w.Body.String())
	}
	for _, c := range []struct{ method, target, want, logged string }{
		{"GET", "/log-level", `200 {"level":"info"}`, "[info]"},
		{"PUT", "/log-level?level=debug", `200 {"level":"debug"}`, "changed[debug][info]"},
		{"PUT", "/log-level?level=debug", `200 {"level":"debug"}`, "[debug][info]"},
		{"PUT", "/log-level?level=loud", `400 {"error":"level \"loud\": debug, info, warn or error is accepted"}`, "[debug][info]"},
		{"PUT", "/log-level", `400 {"error":"level \"\": debug, info, warn or error is accepted"}`, "[debug][info]"},
		{"PUT", "/log-level?level=error", `200 {"level":"error"}`, "changed"},
		{"DELETE", "/log-level", `405 {"error":"DELETE: GET and PUT are accepted"}`, ""},
		{"PUT", "/log-level?level=info", `200 {"level":"info"}`, "changed[info]"},
	} {
		out.Reset()
		if got := ask(c.method, c.target); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.target, got, c.want)
		}
		log.Debug("[debug]")
		log.Info("[info]")
		got := ""
		for _, word := range []string{"changed", "[debug]", "[info]"} {
			if strings.Contains(out.String(), word) {
				got += word
			}
		}
		if got != c.logged {
			t.Errorf("after %s %s: %q is logged, want %q", c.method, c.target, got, c.logged)
		}
	}
}

func TestLoggerRefuses(t *testing.T) {
	for _, c := range [][3]string{
		{"loud", "text", `--log-level "loud": debug, info, warn or error is accepted`},
		{"info", "xml", `--log-format "xml": text or json is accepted`},
	} {
		if _, _, err := Logger(&bytes.Buffer{}, c[0], c[1]); err == nil || err.Error() != c[2] {
			t.Errorf("%v, want %s", err, c[2])
		}
	}
}
