package h1

import "bytes"

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyUntilClose
)

// body follows the framing of one message's content. It looks at bytes and
// keeps none: the relay passes them on as they came, having checked them.
type body struct {
	kind bodyKind
	left int64 // bytes of content still to come, of the body or of the chunk
	at   chunkState
	line int  // bytes of the chunk-size line so far
	over bool // the last chunk and the trailers were read
	err  error
}

type chunkState uint8

const (
	inSize    chunkState = iota // before the first digit of a chunk size
	inDigits                    // after one
	inExt                       // in a chunk extension
	inSizeLF                    // the CR of the size line was seen
	inData                      // in chunk data
	inDataCR                    // after the data
	inDataLF                    // after its CR
	inTrailer                   // after the last chunk's size line
)

const (
	maxChunkLine   = 256 // bytes of a chunk-size line with its extensions
	maxChunkDigits = 16  // zeros in front included: others count in 64 bits
)

func (b *body) done() bool {
	switch b.kind {
	case bodyNone:
		return true
	case bodyLength:
		return b.left == 0
	case bodyChunked:
		return b.over
	}
	return false
}

// bulk is how many bytes are certain to be content, from here on.
func (b *body) bulk() int64 {
	switch {
	case b.kind == bodyLength, b.kind == bodyChunked && b.at == inData:
		return b.left
	case b.kind == bodyUntilClose:
		return 1 << 62
	}
	return 0
}

// next reads the next run of p: n bytes that are all content (data) or all
// framing. n == 0 without an error means that p ends inside the trailer
// section, which is judged as a whole; call again with more. It must not be
// called when done.
func (b *body) next(p []byte, lim Limits) (n int, data bool, err error) {
	switch b.kind {
	case bodyLength:
		n = int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		return n, true, nil
	case bodyUntilClose:
		return len(p), true, nil
	}
	if b.err == nil {
		n, data, b.err = b.chunk(p, lim)
	}
	return n, data, b.err
}

func (b *body) chunk(p []byte, lim Limits) (n int, data bool, err error) {
	if b.at == inData {
		n = int(min(int64(len(p)), b.left))
		if b.left -= int64(n); b.left == 0 {
			b.at = inDataCR
		}
		return n, true, nil
	}
	for i, c := range p {
		switch b.at {
		case inSize, inDigits:
			if v := unhex(c); v >= 0 {
				if b.left > 1<<55 || b.line >= maxChunkDigits {
					return 0, false, errChunkSize
				}
				b.left = b.left<<4 | int64(v)
				b.at = inDigits
			} else if b.at == inSize {
				return 0, false, errChunkSize
			} else if c == '\r' {
				b.at = inSizeLF
			} else if c == ';' {
				b.at = inExt
			} else {
				return 0, false, errChunkSize
			}
		case inExt:
			if c == '\r' {
				b.at = inSizeLF
			} else if class[c]&vchar == 0 {
				return 0, false, errChunkSize
			}
		case inSizeLF:
			if c != '\n' {
				return 0, false, errChunkSize
			}
			b.line = 0
			if b.left == 0 {
				b.at = inTrailer
			} else {
				b.at = inData
			}
			return i + 1, false, nil
		case inDataCR:
			if c != '\r' {
				return 0, false, errChunkEnd
			}
			b.at = inDataLF
			continue
		case inDataLF:
			if c != '\n' {
				return 0, false, errChunkEnd
			}
			b.at = inSize
			continue
		case inTrailer:
			return b.trailer(p, lim)
		}
		if b.line++; b.line > maxChunkLine {
			return 0, false, errChunkSize
		}
	}
	return len(p), false, nil
}

// trailer reads the whole trailer section (RFC 9112 section 7.1.2). Fields
// that frame, route or belong to one hop may not stand in it.
func (b *body) trailer(p []byte, lim Limits) (int, bool, error) {
	at, fields := 0, 0
	for {
		nl := bytes.IndexByte(p[at:], '\n')
		if nl < 0 {
			if len(p) >= lim.Trailer {
				return 0, false, errTrailer
			}
			return 0, false, nil
		}
		end := at + nl + 1
		if nl == 0 || p[end-2] != '\r' || end > lim.Trailer {
			return 0, false, errTrailer
		}
		if nl == 1 {
			b.over = true
			return end, false, nil
		}
		f, err := parseLine(p, at, end)
		if fields++; err != nil || fields > lim.Fields {
			return 0, false, errTrailer
		}
		switch k := known(f.name(p)); {
		case k.endToEnd(), k == hVia, k == hTraceparent, k == hDate:
		default:
			return 0, false, errTrailer
		}
		at = end
	}
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
