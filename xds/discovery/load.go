package discovery

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/meshd/meshd/mesh"
)

// A loader reads files and remembers what was good in them.
type loader struct {
	path  string
	isDir bool
	files map[string]*file // by path
	err   error            // the directory cannot be read
}

// A file is what was last read of one.
type file struct {
	sum     [sha256.Size]byte // of the content that objects and errs are of
	objects []mesh.Object     // with the last good versions of those that are wrong
	errs    []error
	readErr error // it cannot be read now; the rest is from when it could
}

// load reads what there is now and reports whether anything has changed.
func (l *loader) load() (changed bool) {
	paths, err := l.list()
	if err != nil {
		// A directory that is gone is more likely an accident (a mount) than
		// the wish that the mesh be empty.
		changed = text(l.err) != text(err)
		l.err = err
		return changed
	}
	changed = l.err != nil
	l.err = nil
	there := make(map[string]bool, len(paths))
	for _, p := range paths {
		data, err := read(p)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotFile) {
			continue
		}
		there[p] = true
		f := l.files[p]
		if f == nil {
			f = &file{}
			l.files[p] = f
		}
		if err != nil {
			err = fmt.Errorf("configuration: %w: the objects read from it before stay", err)
			changed = changed || text(f.readErr) != text(err)
			f.readErr = err
			continue
		}
		changed = f.update(p, data) || changed
	}
	for p := range l.files {
		if !there[p] {
			delete(l.files, p)
			changed = true
		}
	}
	return changed
}

// list returns the paths of the files that may be there.
func (l *loader) list() ([]string, error) {
	if !l.isDir {
		return []string{l.path}, nil
	}
	entries, err := os.ReadDir(l.path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w: the objects read from it before stay", err)
	}
	var paths []string
	for _, e := range entries {
		if isConfig(e.Name()) {
			paths = append(paths, filepath.Join(l.path, e.Name()))
		}
	}
	return paths, nil
}

var errNotFile = errors.New("not a regular file")

// read reads a regular file, a little further at most than Parse accepts.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening, which would wait at a named pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotFile
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mesh.MaxBytes+1))
}

// update takes the content of the file and reports whether it is another.
func (f *file) update(path string, data []byte) (changed bool) {
	changed = f.readErr != nil
	f.readErr = nil
	sum := sha256.Sum256(data)
	if sum == f.sum {
		return changed
	}
	f.sum = sum
	objects, errs := mesh.Parse(path, data)
	f.objects = append(objects, lastGood(f.objects, objects, errs)...)
	f.errs = errs
	return true
}

// lastGood returns those of old that errs say are wrong now. Where an error
// cannot say which object it is about, it may be any that is missing.
func lastGood(old, now []mesh.Object, errs []error) []mesh.Object {
	if len(errs) == 0 {
		return nil
	}
	good := make(map[mesh.Key]bool, len(now))
	for _, o := range now {
		good[o.Head().Key] = true
	}
	wrong := make(map[mesh.Key]bool)
	for _, err := range errs {
		var e *mesh.Error
		if errors.As(err, &e) {
			wrong[e.Object] = true
		}
	}
	unknown := wrong[mesh.Key{}]
	var kept []mesh.Object
	for _, o := range old {
		if k := o.Head().Key; !good[k] && (unknown || wrong[k]) {
			kept = append(kept, o)
			good[k] = true
		}
	}
	return kept
}

// sorted are the files in the order of their paths.
func (l *loader) sorted() []*file {
	var out []*file
	for _, p := range slices.Sorted(maps.Keys(l.files)) {
		out = append(out, l.files[p])
	}
	return out
}

// objects are those of all files, in the order of the paths.
func (l *loader) objects() []mesh.Object {
	var out []mesh.Object
	for _, f := range l.sorted() {
		out = append(out, f.objects...)
	}
	return out
}

// errors are everything that is wrong now, further if not nil.
func (l *loader) errors(further error) []error {
	var out []error
	for _, err := range []error{further, l.err} {
		if err != nil {
			out = append(out, err)
		}
	}
	for _, f := range l.sorted() {
		if f.readErr != nil {
			out = append(out, f.readErr)
		}
		out = append(out, f.errs...)
	}
	return out
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
