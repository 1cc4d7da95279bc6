// Package docs runs every command that the README and the guides show.
package docs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../.."

// blocks are the fenced blocks of a page that are marked as shell to be run.
func blocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllSubmatch(text, -1) {
		out = append(out, string(m[1]))
	}
	return out
}

// TestGuides runs each guide's commands, in their order and in one shell, as a
// reader would: in a network namespace of its own, where the default ports are
// free and firewall rules hurt nobody.
func TestGuides(t *testing.T) {
	netns.Require(t)
	pages, err := filepath.Glob(root + "/docs/guide/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	for _, page := range append(pages, root+"/docs/performance.md") {
		t.Run(filepath.Base(page), func(t *testing.T) {
			if cmds := blocks(t, page); len(cmds) > 0 {
				run(t, strings.Join(cmds, "\n"))
			}
		})
	}
}

func run(t *testing.T, commands string) {
	t.Helper()
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(process.Binary(t, "meshctl"))
	// `make build` has been run by `make test`; running it here again would
	// replace programs that other tests have started. -n checks that it exists.
	script := "set -euo pipefail\nmake() { command make -n -C " + repository + " \"$@\" >/dev/null; }\n" + commands
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	home := t.TempDir()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_STATE_HOME=", "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(home, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	ns := netns.New(t)
	ns.Up(t, "lo")
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	// What the page started in the background ends with the page.
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	awaitGroup(cmd.Process.Pid)
	if err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("%v (%v)\n%s", err, ctx.Err(), bytes.TrimSpace(text))
	}
}

// awaitGroup waits until a process group is empty, and kills it if it will not end.
func awaitGroup(pgid int) {
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-pgid, 0) == nil {
		select {
		case <-deadline:
			_ = syscall.Kill(-pgid, syscall.SIGKILL)
			return
		case <-tick.C:
		}
	}
}

// TestReadme holds the README to its word: the targets that it names exist,
// and so does everything that it and the guides link to.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`make ([a-z]+)`").FindAllSubmatch(text, -1) {
		cmd := exec.Command("make", "-n", "-C", root, string(m[1]))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", m[1], err, out)
		}
	}
	pages, _ := filepath.Glob(root + "/docs/*/*.md")
	more, _ := filepath.Glob(root + "/docs/*.md")
	for _, page := range append(append(pages, more...), root+"/README.md") {
		links(t, page)
	}
}

func links(t *testing.T, page string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`).FindAllSubmatch(text, -1) {
		to := string(m[1])
		if strings.Contains(to, "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(page), to)); err != nil {
			t.Errorf("%s links to %s: %v", page, to, err)
		}
	}
}
