package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a Service object with the port given, or a bad one if it is 0.
func service(name string, port int) string {
	return fmt.Sprintf("---\n{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {ports: [{port: %d}]}}\n", name, port)
}

func write(t *testing.T, path string, parts ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(parts, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// summary is "name:port …, N errors" of what a source gives.
func summary(objects []mesh.Object, errs []error) string {
	var parts []string
	for _, o := range objects {
		s := o.(*mesh.Service)
		parts = append(parts, fmt.Sprintf("%s:%d", s.Name, s.Ports[0].Port))
	}
	return fmt.Sprintf("%s, %d errors", strings.Join(parts, " "), len(errs))
}

func newLoader(t *testing.T, path string) *loader {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return &loader{path: path, isDir: info.IsDir(), files: make(map[string]*file)}
}

func (l *loader) expect(t *testing.T, changed bool, want string) {
	t.Helper()
	got := l.load()
	if s := summary(l.objects(), l.errors(nil)); got != changed || s != want {
		t.Errorf("changed %v: %s (%v)\nwant %v: %s", got, s, l.errors(nil), changed, want)
	}
}

func TestLastGoodVersionStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, service("a", 80), service("b", 80))
	l := newLoader(t, path)
	l.expect(t, true, "a:80 b:80, 0 errors")
	l.expect(t, false, "a:80 b:80, 0 errors")

	write(t, path, service("a", 81), service("b", 0), service("c", 0))
	l.expect(t, true, "a:81 b:80, 2 errors") // c never was good
	l.expect(t, false, "a:81 b:80, 2 errors")
	if got, want := l.errors(nil)[0].Error(), path+`:4: Service default/b: spec.ports[0].port: value "0": accepted is a whole number from 1 to 65535`; got != want {
		t.Errorf("error is\n%s\nwant\n%s", got, want)
	}

	write(t, path, service("a", 82), "---\n{") // b is not there, or is it?
	l.expect(t, true, "a:82 b:80, 1 errors")
	write(t, path, "\tnot yaml: [")
	l.expect(t, true, "a:82 b:80, 1 errors")
	write(t, path, service("a", 83))
	l.expect(t, true, "a:83, 0 errors")
	write(t, path)
	l.expect(t, true, ", 0 errors")
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("b.yml"), service("b", 80))
	write(t, at("a.yaml"), service("a", 80))
	write(t, at("c.json"), `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": {"ports": [{"port": 80}]}}`)
	write(t, at(".hidden.yaml"), service("x", 80))
	write(t, at("notes.txt"), "?")
	if err := os.MkdirAll(at("below.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, at("below.yaml/x.yaml"), service("x", 80))
	l := newLoader(t, dir)
	l.expect(t, true, "a:80 b:80 c:80, 0 errors")

	os.Remove(at("b.yml"))
	write(t, at("a.yaml"), "{")
	l.expect(t, true, "a:80 c:80, 1 errors")

	os.Remove(at("a.yaml"))
	if err := os.Symlink("nowhere", at("d.yaml")); err != nil {
		t.Fatal(err)
	}
	l.expect(t, true, "c:80, 0 errors")

	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	l.expect(t, true, "c:80, 1 errors")
	l.expect(t, false, "c:80, 1 errors")
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	l.expect(t, true, "c:80, 0 errors")
}

func TestFileThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.yaml")
	write(t, path, service("a", 80))
	l := newLoader(t, path)
	l.expect(t, true, "a:80, 0 errors")
	// A link to itself: unlike a mode of 0, root cannot read that either.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	l.expect(t, true, "a:80, 1 errors")
	l.expect(t, false, "a:80, 1 errors")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, service("a", 80))
	l.expect(t, true, "a:80, 0 errors")
}
