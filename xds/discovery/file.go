package discovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/meshd/meshd/mesh"
)

const (
	// settle is how long after the first sign of a change files are read, so
	// that one that is being written is read once, when it is whole.
	settle = 100 * time.Millisecond
	// pollWatched and pollUnwatched are how often files are read without a
	// sign: some changes make none (network file systems, a directory above
	// that is replaced), and all where there is no inotify.
	pollWatched   = 5 * time.Second
	pollUnwatched = time.Second
)

// File is the Source of the objects in a file, or in the files *.yaml, *.yml
// and *.json of a directory, not of those below it. Names that begin with a
// dot are left out.
//
// The last good version of an object that has become wrong stays, and so do
// all objects of a file that can no longer be read; those of a file that is
// deleted go.
type File struct {
	Path string

	newWatcher func() (*fsnotify.Watcher, error) // fsnotify.NewWatcher unless a test says else
}

var _ Source = (*File)(nil)

// Run implements Source. It fails if there is no file or directory at
// Path when it begins.
func (f *File) Run(ctx context.Context, update func([]mesh.Object, []error)) error {
	info, err := os.Stat(f.Path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("configuration: %s is neither a regular file nor a directory", f.Path)
	}
	l := loader{path: f.Path, isDir: info.IsDir(), files: make(map[string]*file)}
	w := f.watch(l.isDir)
	defer w.close()
	poll := time.NewTicker(w.interval())
	defer poll.Stop()

	l.load()
	update(l.objects(), l.errors(w.err))
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.events:
			if !ok {
				w.events = nil
			} else if settled == nil && l.concerns(e.Name) {
				settled = time.After(settle)
			}
			continue
		case _, ok := <-w.errors: // events were lost
			if !ok {
				w.errors = nil
			} else if settled == nil {
				settled = time.After(settle)
			}
			continue
		case <-settled:
			settled = nil
		case <-poll.C:
		}
		// The directory may be another one by now. Before reading, so that
		// nothing that changes after is missed.
		changed := w.watch()
		poll.Reset(w.interval())
		if l.load() || changed {
			update(l.objects(), l.errors(w.err))
		}
	}
}

// concerns reports whether a change of that path may be one of ours. What
// begins with two dots is how Kubernetes swaps the files of a volume.
func (l *loader) concerns(path string) bool {
	base := filepath.Base(path)
	if strings.HasPrefix(base, "..") {
		return true
	}
	if l.isDir {
		return isConfig(base)
	}
	return base == filepath.Base(l.path)
}

// isConfig reports whether a file of that name in a directory is read.
func isConfig(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// A watcher tells of changes in a directory as far as the system does.
type watcher struct {
	dir    string
	fs     *fsnotify.Watcher // nil where there is none
	events <-chan fsnotify.Event
	errors <-chan error
	err    error // why changes are not seen at once
}

func (f *File) watch(isDir bool) *watcher {
	w := &watcher{dir: f.Path}
	if !isDir {
		w.dir = filepath.Dir(f.Path) // a file that is replaced is another one
	}
	newWatcher := f.newWatcher
	if newWatcher == nil {
		newWatcher = fsnotify.NewWatcher
	}
	fs, err := newWatcher()
	if err != nil {
		w.err = w.explain(err)
		return w
	}
	w.fs, w.events, w.errors = fs, fs.Events, fs.Errors
	w.watch()
	return w
}

func (w *watcher) explain(err error) error {
	return fmt.Errorf("watching %s: %w; changes are looked for every %v instead", w.dir, err, pollUnwatched)
}

// watch watches the directory that is there now, and reports whether w.err has
// changed. Watching again what is watched does nothing.
func (w *watcher) watch() (changed bool) {
	if w.fs == nil {
		return false
	}
	had := w.err
	w.err = nil
	if err := w.fs.Add(w.dir); err != nil {
		w.err = w.explain(err)
	}
	return (had == nil) != (w.err == nil)
}

func (w *watcher) interval() time.Duration {
	if w.err != nil {
		return pollUnwatched
	}
	return pollWatched
}

func (w *watcher) close() {
	if w.fs != nil {
		w.fs.Close()
	}
}
