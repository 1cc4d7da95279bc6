package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxTapLine bounds one line of a tap.
const maxTapLine = 64 << 10

// A TapCall is a call that has ended, as a sidecar saw it: a line of GET /tap
// on its admin port. Durations are milliseconds.
type TapCall struct {
	Sidecar  string    `json:"sidecar,omitempty"` // admin address; meshctl's own addition
	Time     time.Time `json:"time"`              // when it began
	Side     string    `json:"side"`              // in, out
	Reporter string    `json:"reporter,omitempty"`
	Service  string    `json:"service"`
	Route    string    `json:"route,omitempty"`

	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	Peer   string `json:"peer,omitempty"`
	HTTP   string `json:"http,omitempty"`

	Status  int    `json:"status,omitempty"`
	GRPC    string `json:"grpc,omitempty"`
	Error   string `json:"error,omitempty"`
	Failed  bool   `json:"failed,omitempty"`
	Refusal string `json:"refusal,omitempty"`

	TookMs   float64            `json:"tookMs"`
	PartsMs  map[string]float64 `json:"partsMs,omitempty"`
	Attempts int                `json:"attempts,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"`
	Instance string             `json:"instance,omitempty"`

	TCP      bool  `json:"tcp,omitempty"`
	Sent     int64 `json:"sent,omitempty"`
	Received int64 `json:"received,omitempty"`

	Trace   string            `json:"trace,omitempty"`
	Span    string            `json:"span,omitempty"`
	Kept    string            `json:"kept,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// TapMissed is what a tap has not shown, in all so far: calls beyond its rate,
// and calls that it did not read fast enough.
type TapMissed struct {
	Over uint64 `json:"over"`
	Lost uint64 `json:"lost"`
}

// A TapEvent is a line of a tap, one of the two; without either it says that
// the tap is open.
type TapEvent struct {
	Call   *TapCall
	Missed *TapMissed
}

// Tap calls each with what the sidecar whose admin port is at addr shows of the
// calls that match query, until ctx or the stream ends; it always returns an error.
func Tap(ctx context.Context, addr string, query url.Values, each func(TapEvent)) error {
	res, err := askSidecar(ctx, http.MethodGet, addr, "/tap", query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	each(TapEvent{})
	err = readTap(res.Body, func(e TapEvent) {
		if e.Call != nil {
			e.Call.Sidecar = addr
		}
		each(e)
	})
	return fmt.Errorf("sidecar %s: %w", addr, err)
}

// readTap returns io.ErrUnexpectedEOF at the end of r, or the first error.
func readTap(r io.Reader, each func(TapEvent)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTapLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var l struct {
			TapCall
			Missed *TapMissed `json:"missed"`
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("a line that is no call: %w", err)
		}
		if l.Missed != nil {
			each(TapEvent{Missed: l.Missed})
			continue
		}
		each(TapEvent{Call: &l.TapCall})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
