package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	root   = "../.."
	module = "github.com/meshd/meshd"
)

// A pkg is a directory with Go files. Its path is relative to the module.
type pkg struct {
	path  string
	files []*file
}

type file struct {
	path  string // relative to the module
	test  bool
	lines int
	ast   *ast.File
}

// A tree is the module, parsed.
type tree struct {
	fset *token.FileSet
	pkgs []*pkg
}

// load parses the module once for all tests.
var load = sync.OnceValues(func() (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if rel != "." && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "bin" || nested(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(t.fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		p := byDir[dir]
		if p == nil {
			p = &pkg{path: dir}
			byDir[dir] = p
			t.pkgs = append(t.pkgs, p)
		}
		p.files = append(p.files, &file{
			path: filepath.ToSlash(rel), test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(src), "\n"), ast: parsed,
		})
		return nil
	})
	return t, err
})

// nested says whether a directory is a module of its own.
func nested(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func parsed(t *testing.T) *tree {
	t.Helper()
	m, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.pkgs) < 5 {
		t.Fatalf("only %d packages found under %s", len(m.pkgs), root)
	}
	return m
}

// imports lists what the package's files outside tests import.
func (p *pkg) imports() []string {
	var all []string
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, i := range f.ast.Imports {
			all = append(all, strings.Trim(i.Path.Value, `"`))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// under says whether path is room or inside it.
func under(path, room string) bool {
	return path == room || strings.HasPrefix(path, room+"/")
}

func underAny(path string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return under(path, r) })
}

func (t *tree) at(n ast.Node) token.Position { return t.fset.Position(n.Pos()) }
