package client

import (
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// A saver writes the state file, at most once each SaveDelay, away from Run's
// goroutine: a slow disk must not hold up news. The file is replaced by a
// rename, so that a crash leaves the old one or the new.
type saver struct {
	dir    string // "": nothing is written
	delay  time.Duration
	logger *slog.Logger
	timer  *time.Timer
	armed  bool
	busy   bool       // a write is under way
	done   chan error // its result
	failed bool       // was logged
}

func newSaver(cfg Config) *saver {
	return &saver{dir: cfg.StateDir, delay: cfg.SaveDelay, logger: cfg.Logger, timer: stoppedTimer(), done: make(chan error, 1)}
}

// note arms the timer if something has changed.
func (s *saver) note(g *graph) {
	if s.dir != "" && g.changed && !s.armed && !s.busy {
		s.armed = true
		s.timer.Reset(s.delay)
	}
}

func (s *saver) due() <-chan time.Time { return s.timer.C }

func (s *saver) write(g *graph) {
	s.armed, s.busy, g.changed = false, true, false
	b := encodeState(g)
	go func() { s.done <- writeState(s.dir, b) }()
}

// written logs the first of several failures; the next change tries again.
func (s *saver) written(err error) {
	s.busy = false
	if err != nil && !s.failed {
		s.logger.Warn("cannot keep the configuration for the next start", "dir", s.dir, "err", err, "next", "see that --state-dir can be written to; calls are not affected")
	}
	s.failed = err != nil
}

// close waits for a write and makes the last one.
func (s *saver) close(g *graph) {
	s.timer.Stop()
	if s.busy {
		s.written(<-s.done)
	}
	if s.dir != "" && g.changed {
		s.written(writeState(s.dir, encodeState(g)))
	}
}

func writeState(dir string, b []byte) error {
	if len(b) > maxState {
		return &os.PathError{Op: "write", Path: filepath.Join(dir, stateFile), Err: errTooBig}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, stateFile+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, stateFile))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
