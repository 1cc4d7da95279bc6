package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An http2Wire is the client's side of one HTTP/2 connection (RFC 9113, with
// prior knowledge) on which the same call is made again and again.
type http2Wire struct {
	call    call
	streams int // at once

	in     bytes.Reader
	out    bytes.Buffer
	framer *http2.Framer

	enc    *hpack.Encoder
	block  bytes.Buffer // the request's fields, as enc has put them last
	fresh  int          // so many more requests have to be encoded: then the bytes repeat
	next   uint32       // stream
	window int64        // that the peer leaves us for bodies, of all streams together
	each   int64        // and of one stream, at its start

	dec      *hpack.Decoder
	fields   fields   // of the block that is being decoded
	fragment []byte   // of a block that goes on in CONTINUATION
	pending  struct { // the HEADERS that it belongs to
		stream uint32
		end    bool
	}
	answers  []h2answer // that have not ended
	consumed uint32     // bytes of DATA that no WINDOW_UPDATE has told of
}

// ourWindow is what peers may send on the connection before they hear of it.
const ourWindow = 1 << 20

// newHTTP2 is a connection for c, and appends its preface to out.
func newHTTP2(c call, streams int, out []byte) (*http2Wire, []byte, error) {
	w := &http2Wire{call: c, streams: streams, fresh: 2, next: 1, window: 65535, each: 65535}
	w.framer = http2.NewFramer(&w.out, &w.in)
	w.framer.SetReuseFrames()
	w.framer.SetMaxReadFrameSize(16384)
	w.enc = hpack.NewEncoder(&w.block)
	w.dec = hpack.NewDecoder(4096, w.field)
	w.out.WriteString(http2.ClientPreface)
	err := errors.Join(
		w.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}),
		w.framer.WriteWindowUpdate(0, ourWindow-65535))
	return w, w.said(out), err
}

// said moves to out what the framer has written.
func (w *http2Wire) said(out []byte) []byte {
	out = append(out, w.out.Bytes()...)
	w.out.Reset()
	return out
}

func (w *http2Wire) request(out []byte) ([]byte, uint32, error) {
	size := int64(len(w.call.body))
	if size > min(w.window, w.each) {
		return out, 0, fmt.Errorf("no window for a body of %d bytes: %d, and %d of a stream", size, w.window, w.each)
	}
	w.window -= size
	if w.fresh > 0 {
		// The first time fields go into the dynamic table, the second time
		// they are indices into it, as with every client that keeps one.
		w.fresh--
		w.block.Reset()
		for _, f := range w.call.fields {
			if err := w.enc.WriteField(f); err != nil {
				return out, 0, err
			}
		}
	}
	stream := w.next
	w.next += 2
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.block.Bytes(), EndHeaders: true, EndStream: size == 0})
	if err == nil && size > 0 {
		err = w.framer.WriteData(stream, true, w.call.body)
	}
	w.answers = append(w.answers, h2answer{stream: stream})
	return w.said(out), stream, err
}

func (w *http2Wire) take(in, out []byte, done func(uint32, error) error) (int, []byte, error) {
	const head = 9 // bytes of a frame before its payload
	n := 0
	for len(in)-n >= head {
		b := in[n:]
		size := head + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
		if size > head+16384 {
			return n, out, fmt.Errorf("a frame of %d bytes", size)
		}
		if len(b) < size {
			break
		}
		w.in.Reset(b[:size])
		f, err := w.framer.ReadFrame()
		if err == nil {
			err = w.frame(f, done)
		} else if detail := w.framer.ErrorDetail(); detail != nil {
			err = fmt.Errorf("%w: %w", err, detail)
		}
		if err != nil {
			return n, out, err
		}
		n += size
	}
	if w.consumed > ourWindow/2 {
		if err := w.framer.WriteWindowUpdate(0, w.consumed); err != nil {
			return n, out, err
		}
		w.consumed = 0
	}
	return n, w.said(out), nil
}

func (w *http2Wire) frame(f http2.Frame, done func(uint32, error) error) error {
	stream := f.Header().StreamID
	switch f := f.(type) {
	case *http2.HeadersFrame:
		w.pending.stream, w.pending.end = stream, f.StreamEnded()
		if f.HeadersEnded() {
			return w.headers(f.HeaderBlockFragment(), done)
		}
		w.fragment = append(w.fragment[:0], f.HeaderBlockFragment()...)
	case *http2.ContinuationFrame:
		if w.fragment = append(w.fragment, f.HeaderBlockFragment()...); len(w.fragment) > 64<<10 {
			return errors.New("fields of more than 64 KiB")
		}
		if f.HeadersEnded() {
			return w.headers(w.fragment, done)
		}
	case *http2.DataFrame:
		w.consumed += f.Length
		a, err := w.answer(stream, "DATA")
		if err != nil {
			return err
		}
		a.data(&w.call, f.Data())
		return w.end(a, f.StreamEnded(), done)
	case *http2.RSTStreamFrame:
		if a, err := w.answer(stream, ""); err == nil {
			a.fail(fmt.Errorf("RST_STREAM %v", f.ErrCode))
			return w.gone(a, done)
		} else if stream >= w.next {
			return err
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if err := f.ForeachSetting(w.setting); err != nil {
			return err
		}
		return w.framer.WriteSettingsAck()
	case *http2.PingFrame:
		if !f.IsAck() {
			return w.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if stream == 0 {
			w.window += int64(f.Increment)
		} // else of a stream whose whole body has been sent
	case *http2.GoAwayFrame:
		return fmt.Errorf("GOAWAY %v %.60q", f.ErrCode, f.DebugData())
	case *http2.PushPromiseFrame:
		return errors.New("PUSH_PROMISE")
	}
	return nil
}

func (w *http2Wire) setting(s http2.Setting) error {
	switch s.ID {
	case http2.SettingHeaderTableSize:
		w.enc.SetMaxDynamicTableSizeLimit(s.Val)
		w.fresh = 3 // one that tells of the new size, and then as at the start
	case http2.SettingMaxConcurrentStreams:
		if int64(s.Val) < int64(w.streams) {
			return fmt.Errorf("SETTINGS allow %d streams, want %d", s.Val, w.streams)
		}
	case http2.SettingInitialWindowSize:
		w.each = int64(s.Val)
	}
	return nil
}

// headers takes the fields of an answer, or its trailers.
func (w *http2Wire) headers(block []byte, done func(uint32, error) error) error {
	a, err := w.answer(w.pending.stream, "HEADERS")
	if err != nil {
		return err
	}
	w.fields = fields{}
	if _, err := w.dec.Write(block); err != nil {
		return fmt.Errorf("fields: %w", err)
	}
	if err := w.dec.Close(); err != nil {
		return fmt.Errorf("fields: %w", err)
	}
	a.headers(&w.call, &w.fields, w.pending.end)
	return w.end(a, w.pending.end, done)
}

// answer is the one that stream still waits for.
func (w *http2Wire) answer(stream uint32, frame string) (*h2answer, error) {
	i := slices.IndexFunc(w.answers, func(a h2answer) bool { return a.stream == stream })
	if i < 0 {
		return nil, fmt.Errorf("%s on a stream that has ended or never was", frame)
	}
	return &w.answers[i], nil
}

// end judges a when it is whole.
func (w *http2Wire) end(a *h2answer, whole bool, done func(uint32, error) error) error {
	if !whole {
		return nil
	}
	a.whole(&w.call)
	return w.gone(a, done)
}

func (w *http2Wire) gone(a *h2answer, done func(uint32, error) error) error {
	stream, failure := a.stream, a.failure
	w.answers = slices.DeleteFunc(w.answers, func(a h2answer) bool { return a.stream == stream })
	return done(stream, failure)
}
