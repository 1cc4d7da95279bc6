package accesslog

import (
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// The most of what a caller chooses that a line has, in bytes.
const (
	maxMethod = 32
	maxPath   = 1024
	maxPeer   = 64
)

// AppendLine appends the line of a call, with its end: of the access log, and of
// GET /tap with headers of the request. What is empty or zero is left out.
func AppendLine(b []byte, e *call.Entry, reporter string, headers []call.Header) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano) // the format that is fast
	if e.Inbound {
		b = append(b, `","side":"in"`...)
	} else {
		b = append(b, `","side":"out"`...)
	}
	b = text(b, "reporter", reporter)
	b = text(b, "service", e.Service)
	b = text(b, "route", e.Route)
	b = text(b, "method", e.Method[:min(len(e.Method), maxMethod)])
	b = text(b, "path", e.Path[:min(len(e.Path), maxPath)])
	b = text(b, "peer", e.Peer[:min(len(e.Peer), maxPeer)])
	b = text(b, "http", e.Version)
	if code, ok := stats.GRPCCode(e.Status); ok {
		b = text(b, "grpc", stats.GRPCName(code))
	} else {
		b = number(b, "status", int64(e.Status))
	}
	if e.Error != stats.ErrNone {
		b = text(b, "error", e.Error.String())
	}
	if e.Failed {
		b = append(b, `,"failed":true`...)
	}
	b = text(b, "refusal", e.Refusal)
	b = append(b, `,"tookMs":`...)
	b = millis(b, e.Took)
	b = parts(b, &e.Parts)
	b = number(b, "attempts", int64(e.Attempts))
	b = text(b, "endpoint", e.Endpoint)
	if e.Inbound {
		b = text(b, "instance", reporter)
	} else {
		b = text(b, "instance", e.Instance)
	}
	if e.TCP {
		b = append(b, `,"tcp":true`...)
		b = number(b, "sent", e.Sent)
		b = number(b, "received", e.Received)
	}
	if e.Context.TraceID != [16]byte{} {
		b = append(b, `,"trace":"`...)
		b = hex.AppendEncode(b, e.Context.TraceID[:])
		b = append(b, `","span":"`...)
		b = hex.AppendEncode(b, e.Context.SpanID[:])
		b = append(b, '"')
	}
	b = text(b, "kept", e.Kept)
	for i, h := range headers {
		if i == 0 {
			b = append(b, `,"headers":{`...)
		} else {
			b = append(b, ',')
		}
		b = quoted(append(quoted(b, h.Name), ':'), h.Value)
	}
	if len(headers) > 0 {
		b = append(b, '}')
	}
	return append(b, '}', '\n')
}

func parts(b []byte, p *[stats.Parts]time.Duration) []byte {
	first := true
	for i, d := range p {
		if d <= 0 {
			continue
		}
		if first {
			b = append(b, `,"partsMs":{"`...)
		} else {
			b = append(b, ',', '"')
		}
		first = false
		b = append(b, stats.Part(i).String()...)
		b = append(b, '"', ':')
		b = millis(b, d)
	}
	if !first {
		b = append(b, '}')
	}
	return b
}

func number(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(name(b, key), n, 10)
}

// millis appends a duration to the microsecond.
func millis(b []byte, d time.Duration) []byte {
	us := d.Microseconds()
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', '0'+byte(us/100%10), '0'+byte(us/10%10), '0'+byte(us%10))
}

func text(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return quoted(name(b, key), value)
}

func name(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// quoted appends s as a string of JSON (RFC 8259, section 7). What is not UTF-8
// becomes U+FFFD, and DEL and what a browser takes for markup are escaped, so
// that a line can be shown anywhere.
func quoted(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0 // what from there on is as it should be
	for i := 0; i < len(s); {
		c := s[i]
		if asIs[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError && r != '\u2028' && r != '\u2029' && r > 0x9f {
				i += size
				continue
			}
			b = unicode(append(b, s[plain:i]...), r)
			i += size
			plain = i
			continue
		}
		b = append(b, s[plain:i]...)
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = unicode(b, rune(c))
		}
		i++
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

// asIs are the bytes that a string of JSON has unescaped here.
var asIs = func() (t [256]bool) {
	for c := range 0x7f {
		t[c] = c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()

// unicode appends \uXXXX.
func unicode(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
