package h2

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/internal/testkit/race"
)

// An exchanged is a client and an endpoint that allocate nothing themselves:
// both know how long each other's messages are, once the tables of HPACK are
// settled.
type exchanged struct {
	c    net.Conn
	id   uint32
	out  []byte
	head [2][]byte
	in   []byte
}

// newExchange starts both. A request's head and its answer's are always the
// same, as most of them are, with 100 bytes of content each way.
func newExchange(t testing.TB) *exchanged {
	content := make([]byte, 100)
	// Twice: as it is at first, and with what the table knows then.
	block := func(fields ...string) (out [2][]byte) {
		var head bytes.Buffer
		enc := hpack.NewEncoder(&head)
		for i := range out {
			for i := 0; i < len(fields); i += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			out[i] = bytes.Clone(head.Bytes())
			head.Reset()
		}
		return out
	}
	answer := block(":status", "200", "content-type", "application/grpc")
	trailers := [2][]byte{block("grpc-status", "0")[0]}
	trailers[1] = []byte{0x80 | 62} // the newest entry of the table
	backend := accepting(t, func(c net.Conn) {
		in, out := make([]byte, 64<<10), make([]byte, 0, 64<<10)
		if _, err := io.ReadFull(c, in[:len(preface)]); err != nil {
			return
		}
		if _, err := c.Write(appendSettings(nil)); err != nil {
			return
		}
		for n, known := 0, 0; ; {
			k, err := c.Read(in[n:])
			if n += k; err != nil {
				return
			}
			b := in[:n]
			out = out[:0]
			for len(b) >= frameHeader {
				size := frameHeader + (int(b[0])<<16 | int(b[1])<<8 | int(b[2]))
				if len(b) < size {
					break
				}
				id := uint32(b[5])<<24 | uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8])
				if b[3] == frameSettings && b[4]&flagAck == 0 {
					out = appendFrame(out, 0, frameSettings, flagAck, 0)
				}
				if b[3] == frameData && b[4]&flagEndStream != 0 {
					answer, trailers := answer[known], trailers[known]
					known = 1
					out = append(appendFrame(out, len(answer), frameHeaders, flagEndHeaders, id), answer...)
					out = append(appendFrame(out, len(content), frameData, 0, id), content...)
					out = append(appendFrame(out, len(trailers), frameHeaders, flagEndHeaders|flagEndStream, id), trailers...)
					out = appendWindow(out, 0, len(content))
				}
				b = b[size:]
			}
			n = copy(in, b)
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
	r := newRig(t, options{}, backend)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	e := &exchanged{c: c, id: 1, in: make([]byte, 64<<10), out: make([]byte, 0, 4096),
		head: block(":method", "POST", ":scheme", "http", ":authority", "checkout:8080", ":path", "/package.Service/Method",
			"content-type", "application/grpc", "te", "trailers", "user-agent", "grpc-go/1.85.0")}
	if _, err := c.Write(appendFrame(append([]byte(preface), appendSettings(nil)...), 0, frameSettings, flagAck, 0)); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		e.call(t)
	}
	return e
}

func (e *exchanged) call(t testing.TB) {
	head := e.head[min(e.id/2, 1)]
	e.out = append(appendFrame(e.out[:0], len(head), frameHeaders, flagEndHeaders, e.id), head...)
	e.out = append(appendFrame(e.out, 100, frameData, flagEndStream, e.id), e.in[:100]...)
	e.out = appendWindow(e.out, 0, 100)
	if _, err := e.c.Write(e.out); err != nil {
		t.Fatal(err)
	}
	for n, done := 0, false; !done; {
		k, err := e.c.Read(e.in[n:])
		if n += k; err != nil {
			t.Fatal(err)
		}
		b := e.in[:n]
		for len(b) >= frameHeader {
			size := frameHeader + (int(b[0])<<16 | int(b[1])<<8 | int(b[2]))
			if len(b) < size {
				break
			}
			if b[3] == frameHeaders && b[4]&flagEndStream != 0 {
				done = true
			}
			if b[3] == frameGoAway || b[3] == frameReset {
				t.Fatalf("%q", b[:size])
			}
			b = b[size:]
		}
		n = copy(e.in, b)
	}
	e.id += 2
}

// maxAllocations is what a proxied gRPC call costs, all parts of the relay
// included: its traceparent, and the list of its trailers.
const maxAllocations = 3

func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's allocations would be counted")
	}
	e := newExchange(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the pools of buffers stay
	const calls = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		e.call(t)
	}
	runtime.ReadMemStats(&after)
	per := float64(after.Mallocs-before.Mallocs) / calls
	t.Logf("%.2f allocations and %d bytes a call", per, (after.TotalAlloc-before.TotalAlloc)/calls)
	if per > maxAllocations {
		t.Errorf("%.2f allocations a call, more than %d", per, maxAllocations)
	}
}

func BenchmarkRelay(b *testing.B) {
	e := newExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		e.call(b)
	}
}
