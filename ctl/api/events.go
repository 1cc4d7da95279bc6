package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// maxEvent bounds one server-sent event.
const maxEvent = 8 << 20

// WatchScale calls each with every value of replicas, the present one first,
// until the stream breaks; it always returns an error.
func (c *Client) WatchScale(ctx context.Context, namespace, service string, each func(Scale)) error {
	return watch(ctx, c, scalePath(namespace, service), each)
}

// WatchMetrics calls each once a second until the stream breaks; it always
// returns an error.
func (c *Client) WatchMetrics(ctx context.Context, each func(Metrics)) error {
	return watch(ctx, c, "/api/v1/events", each)
}

func watch[T any](ctx context.Context, c *Client, path string, each func(T)) error {
	resp, err := c.send(ctx, http.MethodGet, path, "", "text/event-stream", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return refused(resp, answer)
	}
	err = readEvents(resp.Body, func(data []byte) error {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("event of %s%s: %w", c.base, path, err)
		}
		each(v)
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Unreachable{URL: c.base, Err: err}
}

// readEvents calls each with the data of every server-sent event (WHATWG
// HTML, section 9.2). Event names, ids and comments are skipped. It returns
// io.ErrUnexpectedEOF at the end of r, or the first error.
func readEvents(r io.Reader, each func(data []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	var data []byte
	seen := false
	for lines.Scan() {
		line := lines.Bytes() // Scan drops \n and \r\n
		if len(line) == 0 {
			if seen {
				if err := each(data); err != nil {
					return err
				}
			}
			data, seen = nil, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "data" {
			continue
		}
		if seen {
			data = append(data, '\n')
		}
		data, seen = append(data, bytes.TrimPrefix(value, []byte(" "))...), true
		if len(data) > maxEvent {
			return fmt.Errorf("event longer than %d bytes", maxEvent)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
