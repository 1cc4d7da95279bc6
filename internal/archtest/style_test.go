package archtest

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Lines of a file outside tests: from warnLines on it is worth asking whether
// it holds a second idea, from maxLines on it does.
const (
	warnLines = 400
	maxLines  = 500
)

// Rooms that may write to standard output by themselves: programs, and what
// tests run as programs.
var printers = []string{"cmd", "test", "internal/image", "ctl/ctltest"}

func TestPackageComments(t *testing.T) {
	for _, p := range parsed(t).pkgs {
		var with []string
		sources := 0
		for _, f := range p.files {
			if f.test {
				continue
			}
			sources++
			if f.ast.Doc != nil {
				with = append(with, f.path)
			}
		}
		if sources > 0 && len(with) != 1 {
			t.Errorf("%s has %d package comments %v, want one that says what the package is for", p.path, len(with), with)
		}
	}
}

func TestFileLength(t *testing.T) {
	for _, p := range parsed(t).pkgs {
		for _, f := range p.files {
			switch {
			case f.test || ast.IsGenerated(f.ast):
			case f.lines > maxLines:
				t.Errorf("%s has %d lines, at most %d: it holds a second idea", f.path, f.lines, maxLines)
			case f.lines > warnLines:
				t.Logf("%s has %d lines: does it hold a second idea?", f.path, f.lines)
			}
		}
	}
}

func TestNoInit(t *testing.T) {
	m := parsed(t)
	for _, p := range m.pkgs {
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				if fd, ok := d.(*ast.FuncDecl); ok && fd.Recv == nil && fd.Name.Name == "init" {
					t.Errorf("%v: init: want an explicit table or a call from main", m.at(fd))
				}
			}
		}
	}
}

// forbiddenCalls are calls that library rooms, or tests, do not make.
var forbiddenCalls = []struct {
	pkg, prefix string
	tests       bool
	why         string
}{
	{"log", "", false, "a *slog.Logger is injected"},
	{"log/slog", "SetDefault", false, "a *slog.Logger is injected"},
	{"log/slog", "Debug", false, "a *slog.Logger is injected"},
	{"log/slog", "Info", false, "a *slog.Logger is injected"},
	{"log/slog", "Warn", false, "a *slog.Logger is injected"},
	{"log/slog", "Error", false, "a *slog.Logger is injected"},
	{"fmt", "Print", false, "a room writes to the io.Writer that it is given"},
	{"time", "Sleep", true, "a test waits for what it waits for, or runs under testing/synctest"},
}

func TestForbiddenCalls(t *testing.T) {
	m := parsed(t)
	for _, p := range m.pkgs {
		// Which of a package's tests run in a bubble is not looked into: the
		// helper that opens it may be in another file.
		fakeTime := slices.ContainsFunc(p.files, func(f *file) bool { return importNames(f.ast)["testing/synctest"] != "" })
		for _, f := range p.files {
			names := importNames(f.ast)
			for _, c := range forbiddenCalls {
				name := names[c.pkg]
				if name == "" || c.tests != f.test || f.test && fakeTime || !f.test && underAny(p.path, printers) {
					continue
				}
				ast.Inspect(f.ast, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					sel, ok := call.Fun.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && forbidden(sel.Sel.Name, c.prefix) {
						t.Errorf("%v: %s.%s: %s", m.at(call), c.pkg, sel.Sel.Name, c.why)
					}
					return true
				})
			}
		}
	}
}

// forbidden matches a name and its variants: Print, Printf, Println; Info,
// InfoContext; but not slog's Errorf-like constructors such as ErrorHandler.
func forbidden(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if prefix == "" {
		return strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")
	}
	return ok && (rest == "" || rest == "f" || rest == "ln" || rest == "Context")
}

// importNames maps import paths to the names that the file gives them.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		names[path] = path[strings.LastIndexByte(path, '/')+1:]
		if i.Name != nil {
			names[path] = i.Name.Name
		}
	}
	return names
}

// noImports lets a package be checked by itself: what others export is
// unknown, and the errors about it are not looked at.
type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

// TestNoMutablePackageState: a package-level variable is set where it is
// declared and nowhere else.
func TestNoMutablePackageState(t *testing.T) {
	m := parsed(t)
	for _, p := range m.pkgs {
		var files []*ast.File
		for _, f := range p.files {
			if !f.test {
				files = append(files, f.ast)
			}
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{Importer: noImports{}, Error: func(error) {}, DisableUnusedImportCheck: true}
		own, _ := conf.Check(p.path, m.fset, files, info) // errors about imports are expected
		written := func(e ast.Expr) {
			id := base(e)
			if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == own.Scope() {
				t.Errorf("%v: %s is set after its declaration: package-level state is not mutable, put it in a struct", m.at(e), id.Name)
			}
		}
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						for _, e := range n.Lhs {
							written(e)
						}
					}
				case *ast.IncDecStmt:
					written(n.X)
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (f.Name == "delete" || f.Name == "clear") {
						written(n.Args[0])
					}
				}
				return true
			})
		}
	}
}

// base is x of x, x[i], x.f and *x.
func base(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// TestReadmeMap: whoever reads the map finds every room.
func TestReadmeMap(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Skip("there is no README.md yet")
	}
	seen := map[string]bool{}
	for _, p := range parsed(t).pkgs {
		top, _, _ := strings.Cut(p.path, "/")
		if !seen[top] && top != "." && !strings.Contains(string(b), top+"/") {
			t.Errorf("README.md does not mention %s/", top)
		}
		seen[top] = true
	}
}

// Who reads a warning at three in the morning has to know what to do: each one
// says it, in an attribute "next".
func TestWarningsSayWhatNext(t *testing.T) {
	tree := parsed(t)
	for _, p := range tree.pkgs {
		for _, f := range p.files {
			if f.test {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || method.Sel.Name != "Warn" && method.Sel.Name != "Error" {
					return true
				}
				if text, ok := call.Args[0].(*ast.BasicLit); !ok || text.Kind != token.STRING {
					return true // a test's Error, or no logger's
				}
				for _, a := range call.Args[1:] {
					if key, ok := a.(*ast.BasicLit); ok && key.Value == `"next"` {
						return true
					}
				}
				t.Errorf("%s: a warning without an attribute next: say what its reader can do", tree.at(call))
				return true
			})
		}
	}
}
