package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// theBody is what the backend answers, and what the load compares answers
// with: 100 bytes.
const theBody = theText + "op"

// answer looks for one whole answer at the start of b and returns its length,
// or 0 if more must be read. Anything but a 200 with theBody, its
// Content-Length and a connection that stays open is an error.
func answer(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	head, size := b[:end], end+4+len(theBody)
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("answered %s", about(head))
	}
	length := -1
	_, fields, _ := bytes.Cut(head, []byte("\r\n"))
	for line := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 0 || length >= 0 {
				return 0, fmt.Errorf("Content-Length %.40q", value)
			}
			length = n
		case bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			return 0, fmt.Errorf("the connection is closed after this answer")
		}
	}
	switch {
	case length != len(theBody):
		return 0, fmt.Errorf("Content-Length %d, want %d", length, len(theBody))
	case len(b) < size:
		return 0, nil
	case string(b[end+4:size]) != theBody:
		return 0, fmt.Errorf("body %.40q…", b[end+4:size])
	}
	return size, nil
}

// about is the status line of head, with what a proxy says of itself.
func about(head []byte) string {
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	for line := range bytes.SplitSeq(fields, []byte("\r\n")) {
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Proxy-Status")) {
			return fmt.Sprintf("%.60q, Proxy-Status %.80q", status, bytes.TrimSpace(value))
		}
	}
	return fmt.Sprintf("%.60q", status)
}
