package e2e

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

var update = flag.Bool("update", false, "rewrite the tables of flags in docs/reference/sidecar.md")

const (
	sidecarPage   = "../../docs/reference/sidecar.md"
	telemetryPage = "../../docs/reference/telemetry.md"
)

// TestFlags holds the page to what the programs say of themselves.
func TestFlags(t *testing.T) {
	text, err := os.ReadFile(sidecarPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, tc := range []struct {
		command  []string
		heading  string // of the table
		variable bool
	}{
		{nil, "| flag | variable | default | meaning |\n|---|---|---|---|\n", true},
		{[]string{"redirect", "install"}, "`sidecar redirect install [flags]`:\n\n| flag | default | meaning |\n|---|---|---|\n", false},
		{[]string{"redirect", "remove"}, "`sidecar redirect remove [flags]`:\n\n| flag | default | meaning |\n|---|---|---|\n", false},
	} {
		help := process.Output(t, process.Spec{Name: "sidecar", Path: process.Binary(t, "sidecar"), Args: append(tc.command, "--help")})
		want := flagTable(t, help, tc.variable)
		before, after, ok := strings.Cut(page, tc.heading)
		if !ok {
			t.Fatalf("%s has no table headed %q", sidecarPage, tc.heading)
		}
		got := regexp.MustCompile("^(\\| `--.*\n)*").FindString(after)
		if *update {
			page = before + tc.heading + want + strings.TrimPrefix(after, got)
			continue
		}
		if got != want {
			t.Errorf("%q: the table in %s is not what --help says (go test ./test/e2e -run TestFlags -update):\n%s\nwant:\n%s", tc.command, sidecarPage, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(sidecarPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// flagTable makes a table's rows of what --help prints.
func flagTable(t *testing.T, help string, variable bool) string {
	t.Helper()
	_, flags, ok := strings.Cut(help, "Flags:\n")
	if !ok {
		t.Fatalf("no flags in %q", help)
	}
	line := regexp.MustCompile(`^ +(?:-\w, )?--([a-z-]+)(?: \w+)? {2,}(.*?)(?: \(default (.*)\))?$`)
	var out strings.Builder
	for l := range strings.Lines(flags) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			break // the end of the list
		}
		if m[1] == "help" || m[1] == "version" {
			continue
		}
		value := m[3]
		if strings.HasPrefix(value, `"`) || regexp.MustCompile(`^\d`).MatchString(value) {
			value = "`" + strings.Trim(value, `"`) + "`"
		}
		out.WriteString("| `--" + m[1] + "` | ")
		if variable {
			out.WriteString("`MESHD_" + strings.ToUpper(strings.ReplaceAll(m[1], "-", "_")) + "` | ")
		}
		out.WriteString(value + " | " + m[2] + " |\n")
	}
	if out.Len() == 0 {
		t.Fatalf("no flags in %q", help)
	}
	return out.String()
}

// TestVariables: what is wrong in a variable is said, and the flag wins.
func TestVariables(t *testing.T) {
	for variable, says := range map[string]string{
		"MESHD_OUTBOUND_POLICY": `--outbound-policy "x"`, "MESHD_ADMIN": `--admin "x"`,
		"MESHD_LOG_LEVEL": `--log-level "x"`, "MESHD_LOG_FORMAT": `--log-format "x"`,
		"MESHD_SERVICE_PORT": "MESHD_SERVICE_PORT", "MESHD_WEIGHT": "MESHD_WEIGHT", "MESHD_MARK": "MESHD_MARK",
		"MESHD_DRAIN": "MESHD_DRAIN", "MESHD_MAX_CONNECTIONS": "MESHD_MAX_CONNECTIONS",
	} {
		t.Run(variable, func(t *testing.T) {
			if told := refusal(t, []string{variable + "=x"}); !strings.Contains(told, says) {
				t.Errorf("%q does not say %q", told, says)
			}
		})
	}
	told := refusal(t, []string{"MESHD_SERVICE=a", "MESHD_OUTBOUND=127.0.0.1:1", "MESHD_INBOUND=x", "MESHD_APP=y"}, "--outbound", "", "--app", "z")
	if strings.Contains(told, "--service") || !strings.Contains(told, `--app "z"`) {
		t.Errorf("the flag does not win, or a variable does not count: %q", told)
	}
}

// refusal is what a sidecar says that does not start.
func refusal(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := process.Run(t, process.Spec{Name: "sidecar", Path: process.Binary(t, "sidecar"), Env: env, Args: args})
	select {
	case <-p.Done:
	case <-time.After(patience):
		t.Fatalf("it started, with %q", env)
	}
	if p.ExitCode() != 1 {
		t.Errorf("exit status %d: %s", p.ExitCode(), &p.Out)
	}
	return p.Out.String()
}

// documented holds the page on telemetry to what is seen.
func documented(t *testing.T, names ...string) {
	t.Helper()
	page, err := os.ReadFile(telemetryPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("%s does not tell of `%s`", telemetryPage, name)
		}
	}
}

// TestTelemetryVariables: each variable that the page names is read, and what
// makes no sense is said, whether the sidecar starts all the same or does not.
func TestTelemetryVariables(t *testing.T) {
	page, err := os.ReadFile(telemetryPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`(OTEL_[A-Z_]+)`").FindAllStringSubmatch(string(page), -1) {
		switch name := m[1]; name {
		case "OTEL_SERVICE_NAME": // any text will do
		default:
			p := process.Run(t, process.Spec{
				Name: "sidecar", Path: process.Binary(t, "sidecar"), Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:9", name + "=x=%zz"},
				Args: []string{"--service", "a", "--inbound", "", "--outbound", "127.0.0.1:0", "--admin", "", "--meshd", ""},
			})
			process.Await(t, patience, func() error {
				if told := p.Out.String(); !strings.Contains(told, name) {
					return fmt.Errorf("%s is not read, or all values of it are good: %q", name, told)
				}
				return nil
			})
			p.Kill()
		}
	}
}
