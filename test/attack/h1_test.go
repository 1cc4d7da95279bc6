package attack

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// lingering is for connections that are closed some time after the answer that
// says why, so that a client can read it.
const lingering = 3 * time.Second

// ending is for connections on which calls are under way that may still end.
const ending = 6 * time.Second

// texts are what a hostile client writes over HTTP/1.1. They run side by side.
var texts = []attack{
	{name: "a chunk extension without end", closed: true, during: lingering, run: text("POST /sink HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n5;x=", strings.Repeat("x", 64))},
	{name: "large chunk extensions", closed: true, during: lingering, run: text("POST /sink HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", "1;x="+strings.Repeat("x", 2000)+"\r\nx\r\n")},
	{name: "a field without end", closed: true, during: lingering, run: text("GET / HTTP/1.1\r\nHost: %s\r\nX: ", strings.Repeat("x", 64))},
	{name: "fields without end", closed: true, during: lingering, run: text("GET / HTTP/1.1\r\nHost: %s\r\n", "X: x\r\n")},
	{name: "trailers without end", closed: true, during: lingering, run: text("POST /sink HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: x\r\n")},
	{name: "empty lines without end", closed: true, during: lingering, run: text("", "\r\n")},
	{name: "a request line without end", closed: true, during: lingering, run: text("GET /", "xxxxxxxx")},
}

// allowed is what nobody may forbid.
var allowed = []attack{
	{name: "many tiny chunks", during: 2 * time.Second, run: text("POST /sink HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")},
	{name: "requests in a row, no answer read", during: 2 * time.Second, run: text("", "GET /big HTTP/1.1\r\nHost: %s\r\n\r\n")},
}

// connections are about how many there are.
var connections = []attack{
	{name: "thousands of idle connections", during: 2 * time.Second, run: func(a *attacker) {
		var all []net.Conn
		for len(all) < 3000 && a.ctx.Err() == nil {
			conn, err := net.DialTimeout("tcp", a.addr, time.Second)
			if err != nil {
				a.refused.Add(1)
				break
			}
			a.conns.Add(1)
			all = append(all, conn)
		}
		<-a.ctx.Done()
		for _, conn := range all {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}},
	{name: "connections opened and dropped", parallel: 4, during: 2 * time.Second, run: func(a *attacker) {
		a.each(func(conn net.Conn) error { _, err := conn.Write([]byte("G")); a.frames.Add(1); return err })
	}},
}

// patience is more than a sidecar has with a head that does not end (10 s).
const patience = 15 * time.Second

// slow are clients that take their time. They run side by side.
var slow = []attack{
	{name: "HTTP/1.1 heads that do not end", closed: true, parallel: 100, during: patience, run: trickle("GET / HTTP/1.1\r\nHost: %s\r\n", "")},
	{name: "HTTP/1.1 heads a byte a second", closed: true, parallel: 100, during: patience, run: trickle("GET / HTTP/1.1\r\nHost: %s\r\nX: ", "x")},
	{name: "HTTP/1.1 bodies a byte a second", parallel: 100, during: patience, run: trickle("POST /sink HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000\r\n\r\n", "x")},
	{name: "HTTP/2 prefaces that do not end", closed: true, parallel: 100, during: patience, run: trickle("PRI * HTTP/2.0\r\n\r\nSM", "")},
	{name: "HTTP/2 without SETTINGS", closed: true, parallel: 100, during: patience, run: trickle(http2.ClientPreface, "")},
	{name: "HTTP/2 SETTINGS a byte a second", closed: true, parallel: 100, during: patience, run: trickle(http2.ClientPreface+"\x00\x00\x3c\x04\x00\x00\x00\x00\x00", "\x00")},
	{name: "HTTP/2 frames that do not end", closed: true, parallel: 100, during: patience, run: trickle(http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\x00\x00\x40\x01\x04\x00\x00\x00\x01", "\x40")},
	{name: "HTTP/2 heads that do not end", closed: true, parallel: 100, during: patience, run: h2Attack(func(c *h2) error {
		id := c.next()
		return c.once(id, c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, BlockFragment: c.request("GET", "/")})))
	})},
	{name: "HTTP/2 bodies a byte a second", parallel: 100, during: patience, run: h2Attack(func(c *h2) error {
		id, err := c.open(false, "POST", "/sink")
		for err == nil {
			if err = c.WriteData(id, false, []byte("x")); err == nil {
				err = c.flush()
			}
			if c.a.wait(time.Second); c.a.ctx.Err() != nil {
				return errOver
			}
		}
		return err
	})},
}

// text writes begin, and then the rest again and again, as many a second as
// others write frames; %s is the host called.
func text(begin, rest string) func(*attacker) {
	return func(a *attacker) {
		first := []byte(strings.ReplaceAll(begin, "%s", a.host))
		block := []byte(strings.Repeat(strings.ReplaceAll(rest, "%s", a.host), batch))
		a.each(func(conn net.Conn) error {
			defer a.answer(conn)()
			tick := time.NewTicker(time.Second * batch / frameRate)
			defer tick.Stop()
			_, err := conn.Write(first)
			for err == nil {
				if _, err = conn.Write(block); err == nil {
					a.frames.Add(batch)
				}
				select {
				case <-tick.C:
				case <-a.ctx.Done():
					return errOver
				}
			}
			return err
		})
	}
}

// trickle writes begin, and then the rest once a second.
func trickle(begin, rest string) func(*attacker) {
	return func(a *attacker) {
		first := []byte(strings.ReplaceAll(begin, "%s", a.host))
		a.each(func(conn net.Conn) error {
			gone := make(chan error, 1)
			defer a.untilClosed(conn, gone)()
			_, err := conn.Write(first)
			for err == nil {
				pause := time.NewTimer(time.Second)
				select {
				case err = <-gone:
				case <-pause.C:
					_, err = conn.Write([]byte(rest))
					a.frames.Add(int64(len(rest)))
				case <-a.ctx.Done():
					err = errOver
				}
				pause.Stop()
			}
			return err
		})
	}
}

// answer notes the first answer that comes, and waits for nothing.
func (a *attacker) answer(conn net.Conn) (wait func()) {
	var reading sync.WaitGroup
	reading.Go(func() {
		if res, err := http.ReadResponse(bufio.NewReaderSize(conn, 256), nil); err == nil {
			a.noteStatus(res.Status[:3])
		}
	})
	return func() { _ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); reading.Wait() }
}

// untilClosed reads all that comes and tells of the end.
func (a *attacker) untilClosed(conn net.Conn, gone chan<- error) (wait func()) {
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 4<<10)
		for {
			if _, err := conn.Read(b); err != nil {
				gone <- err
				return
			}
		}
	})
	return func() { _ = conn.SetReadDeadline(time.Now()); reading.Wait() }
}
