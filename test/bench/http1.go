package main

import "errors"

// An http1Wire has at most one request in flight.
type http1Wire struct {
	req  []byte
	busy bool
}

func (w *http1Wire) request(out []byte) ([]byte, uint32, error) {
	w.busy = true
	return append(out, w.req...), 0, nil
}

func (w *http1Wire) take(in, out []byte, done func(uint32, error) error) (int, []byte, error) {
	if !w.busy {
		return 0, out, errors.New("bytes that nobody asked for")
	}
	size, err := answer(in)
	switch {
	case err != nil || size == 0:
		return 0, out, err
	case size < len(in):
		return 0, out, errors.New("bytes after the answer")
	}
	w.busy = false
	return size, out, done(0, nil)
}
