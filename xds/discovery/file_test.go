package discovery

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/meshd/meshd/mesh"
)

// start runs a source for the length of the test; updates are the summaries
// of what it gives.
func start(t *testing.T, s Source) (updates <-chan string) {
	t.Helper()
	c := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(objects []mesh.Object, errs []error) { c <- summary(objects, errs) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// wait passes over updates until one is as wanted.
func wait(t *testing.T, updates <-chan string, want string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	last := "none"
	for {
		select {
		case last = <-updates:
			if last == want {
				return
			}
		case <-limit:
			t.Fatalf("last update: %s, want %s", last, want)
		}
	}
}

func TestFileIsReloaded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mesh.yaml")
	write(t, path, service("a", 80))
	updates := start(t, &File{Path: path})
	wait(t, updates, "a:80, 0 errors")

	write(t, path, service("a", 81))
	wait(t, updates, "a:81, 0 errors")

	write(t, filepath.Join(dir, "new"), service("a", 82))
	if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
		t.Fatal(err)
	}
	wait(t, updates, "a:82, 0 errors")

	write(t, path, "{")
	wait(t, updates, "a:82, 1 errors")
	os.Remove(path)
	wait(t, updates, ", 0 errors")
	write(t, path, service("a", 83))
	wait(t, updates, "a:83, 0 errors")
}

// Kubernetes changes the files of a volume by swapping the symbolic link
// ..data, to which theirs lead.
func TestVolumeIsReloaded(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	swap := func(version string, port int) {
		t.Helper()
		if err := os.Mkdir(at(version), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, at(version+"/mesh.yaml"), service("a", port))
		if err := os.Symlink(version, at("..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at("..data_tmp"), at("..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("..1", 80)
	if err := os.Symlink("..data/mesh.yaml", at("mesh.yaml")); err != nil {
		t.Fatal(err)
	}
	asDir := start(t, &File{Path: dir})
	asFile := start(t, &File{Path: at("mesh.yaml")})
	wait(t, asDir, "a:80, 0 errors")
	wait(t, asFile, "a:80, 0 errors")
	swap("..2", 81)
	wait(t, asDir, "a:81, 0 errors")
	wait(t, asFile, "a:81, 0 errors")
}

// Without inotify the files are looked at every second.
func TestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("a", 80))
		updates := start(t, &File{Path: path, newWatcher: func() (*fsnotify.Watcher, error) {
			return nil, errors.New("too many open files")
		}})
		wait(t, updates, "a:80, 1 errors")
		write(t, path, service("a", 81))
		time.Sleep(pollUnwatched)
		synctest.Wait()
		select {
		case got := <-updates:
			if got != "a:81, 1 errors" {
				t.Errorf("got %s", got)
			}
		default:
			t.Error("no update within a second")
		}
		time.Sleep(10 * pollUnwatched)
		synctest.Wait()
		if len(updates) > 0 {
			t.Error("an update without a change")
		}
	})
}

func TestRunNeedsAFile(t *testing.T) {
	err := (&File{Path: filepath.Join(t.TempDir(), "none")}).Run(t.Context(), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "configuration: stat ") {
		t.Errorf("got %v", err)
	}
	err = (&File{Path: os.DevNull}).Run(t.Context(), nil)
	if want := "configuration: /dev/null is neither a regular file nor a directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
