package tcp

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// An end that comes along with the last bytes has no event of its own.
func TestEndWithTheLastBytes(t *testing.T) {
	for range 50 {
		client, a := pair(t)
		server, b := pair(t)
		send(t, client, "all")
		_ = client.CloseWrite()
		send(t, server, "answer")
		_ = server.CloseWrite()
		res, err := Relay(t.Context(), a, b, Options{})
		if err != nil || res.AtoB != 3 || res.BtoA != 6 || res.Reason != Closed {
			t.Fatalf("%+v, %v", res, err)
		}
		expect(t, server, "all")
		expectEnd(t, server)
		expect(t, client, "answer")
		expectEnd(t, client)
		_, _ = client.Close(), server.Close()
	}
}

// Messages of all sizes, those that fill the buffer and more, in turn: from
// messages to bulk and back.
func TestMessagesAndBulkInTurn(t *testing.T) {
	var sent, received stats.Counter
	r := start(t, Options{CountAtoB: &sent, CountBtoA: &received})
	total := 0
	for _, n := range []int{1, messageSize - 1, messageSize, messageSize + 1, 7, 5 * messageSize, 2, 1} {
		msg := strings.Repeat("x", n)
		send(t, r.client, msg)
		expect(t, r.server, msg)
		send(t, r.server, msg)
		expect(t, r.client, msg)
		total += n
	}
	// The counters are true while the connection lives; of bulk, after a while.
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for sent.Value() != uint64(total) || received.Value() != uint64(total) {
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d bytes counted of %d", sent.Value(), received.Value(), total)
		}
		<-tick.C
	}
	_, _ = r.client.CloseWrite(), r.server.CloseWrite()
	r.wait(t)
	if r.res.AtoB != int64(total) || r.res.BtoA != int64(total) {
		t.Errorf("%+v", r.res)
	}
}

// A reader that takes nothing until everything is full loses nothing.
func TestSlowReader(t *testing.T) {
	r := start(t, Options{})
	piece := bytes.Repeat([]byte("0123456789"), 100)
	_ = r.client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	total := 0
	for {
		n, err := r.client.Write(piece)
		if total += n; err != nil {
			break
		}
	}
	_ = r.client.CloseWrite()
	var got bytes.Buffer
	if _, err := io.Copy(&got, r.server); err != nil {
		t.Fatal(err)
	}
	if want := bytes.Repeat(piece, total/len(piece)+1)[:total]; !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came of %d, or others", got.Len(), total)
	}
}

func TestCulprit(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Options{})
			gone, want := r.client, A
			if name == "b" {
				gone, want = r.server, B
			}
			_ = gone.SetLinger(0)
			_ = gone.Close()
			r.wait(t)
			if r.res.Reason != Reset || r.res.Culprit != want {
				t.Errorf("%+v, %v", r.res, r.err)
			}
		})
	}
}

// A kernel that does not say what is left is asked.
func TestWithoutINQ(t *testing.T) {
	client, a := pair(t)
	server, b := pair(t)
	w := &way{src: a, dst: b}
	if err := w.init(); err != nil {
		t.Fatal(err)
	}
	raw, _ := a.SyscallConn()
	_ = raw.Control(func(fd uintptr) { _ = setINQ(fd, 0) })
	done := make(chan error, 1)
	go func() { done <- w.pump(nil) }()
	for range 3 {
		send(t, client, "message")
		expect(t, server, "message")
	}
	send(t, client, "last")
	_ = client.CloseWrite()
	if err := <-done; err != nil {
		t.Error(err)
	}
	expect(t, server, "last")
	for _, c := range []io.Closer{client, server, a, b} {
		_ = c.Close()
	}
}
