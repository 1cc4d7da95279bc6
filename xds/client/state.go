package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
)

// The state file: a line with the format, the SHA-256 of what follows and a
// newline; then a protobuf of repeated records in field 1, each with kind,
// name, version and the serialised resource in fields 1 to 4.
const (
	stateFile   = "xds-state"
	stateHeader = "meshd xds state 1 "
	maxState    = 64 << 20 // bytes
)

var (
	errState  = errors.New("state file is damaged")
	errTooBig = fmt.Errorf("more than %d bytes", maxState)
)

type seedKey struct {
	k    kind
	name string
}

type record struct {
	version string
	value   []byte
}

// encodeState writes every resource that has a value.
func encodeState(g *graph) []byte {
	var body []byte
	for k := range kinds {
		for name, e := range g.entries[k] {
			if e.raw == nil {
				continue
			}
			rec := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(k))
			rec = appendString(rec, 2, name)
			rec = appendString(rec, 3, e.version)
			body = appendMessage(body, 1, appendMessage(rec, 4, e.raw))
		}
	}
	sum := sha256.Sum256(body)
	head := stateHeader + hex.EncodeToString(sum[:]) + "\n"
	return append([]byte(head), body...)
}

// decodeState reads what encodeState wrote. The error is errState.
func decodeState(b []byte) (map[seedKey]record, error) {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	sum := sha256.Sum256(body)
	if !ok || string(head) != stateHeader+hex.EncodeToString(sum[:]) {
		return nil, errState
	}
	all := map[seedKey]record{}
	err := eachField(body, func(_ protowire.Number, b []byte) error {
		var key seedKey
		var r record
		if n, typ, size := protowire.ConsumeTag(b); n == 1 && typ == protowire.VarintType {
			k, _ := protowire.ConsumeVarint(b[size:])
			if k >= uint64(kinds) {
				return errState
			}
			key.k = kind(k)
		}
		err := eachField(b, func(n protowire.Number, v []byte) error {
			switch n {
			case 2:
				key.name = string(v)
			case 3:
				r.version = string(v)
			case 4:
				r.value = v
			}
			return nil
		})
		all[key] = r
		return err
	})
	if err != nil {
		return nil, errState
	}
	return all, nil
}

// restore watches the authorities of the state file and takes its resources,
// each checked as if it had been received. A damaged file is set aside.
func (l *loop) restore() {
	if l.cfg.StateDir == "" {
		return
	}
	path := filepath.Join(l.cfg.StateDir, stateFile)
	seed, err := readState(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		aside := path + ".bad"
		l.cfg.Logger.Warn("starting without the last good configuration", "file", path, "err", err, "moved to", aside,
			"next", "nothing, if meshd is there; the file that was set aside is for a bug report")
		if err := os.Rename(path, aside); err != nil {
			l.cfg.Logger.Warn("cannot set the state file aside", "err", err, "next", "see that --state-dir can be written to")
		}
		return
	}
	l.g.seed = seed
	l.g.onBad = func(k kind, name string, err error) {
		l.cfg.Logger.Warn("resource of the state file is not valid", "type", k.String(), "name", name, "err", err,
			"next", "nothing: meshd sends it anew")
	}
	for key, r := range seed {
		switch {
		case key.k == listener:
			_ = l.Watch(key.name) // the file holds no more than were watched
		case key.k == shares && key.name != l.g.own:
			// What this instance had under the name that it had before its
			// restart is the best that is known; meshd has its own version.
			delete(seed, key)
			seed[seedKey{shares, l.g.own}] = record{value: r.value}
		}
	}
	l.applyChanges()
	l.g.seed, l.g.onBad = nil, nil
	l.g.settle()
	l.g.changed = false
}

func readState(path string) (map[seedKey]record, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are written", errState, info.Size(), maxState)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeState(b)
}
