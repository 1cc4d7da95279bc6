package h2

import (
	"encoding/binary"
	"strconv"
)

// Frame types (RFC 9113 section 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePush         = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9
)

// Frame flags.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
const (
	settingTableSize     = 0x1
	settingPush          = 0x2
	settingStreams       = 0x3
	settingWindow        = 0x4
	settingFrameSize     = 0x5
	settingHeaderList    = 0x6
	settingConnect       = 0x8
	settingNoPriority    = 0x9 // RFC 9218 section 2.1
	frameHeader          = 9
	defaultWindow        = 65535
	maxWindow            = 1<<31 - 1
	frameSize            = 16384 // the payload that we take, and the least that a peer takes
	preface              = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	defaultTable         = 4096
	streamsBeforeAllowed = 100     // RFC 9113 section 6.5.2: no less is recommended
	streamsUnsaid        = 1 << 20 // no SETTINGS_MAX_CONCURRENT_STREAMS is no limit; gRPC's servers say none
)

// A code is an error code (RFC 9113 section 7).
type code uint32

const (
	codeNone         code = 0x0
	codeProtocol     code = 0x1
	codeInternal     code = 0x2
	codeFlowControl  code = 0x3
	codeTimeout      code = 0x4
	codeStreamClosed code = 0x5
	codeFrameSize    code = 0x6
	codeRefused      code = 0x7
	codeCancel       code = 0x8
	codeCompression  code = 0x9
	codeConnect      code = 0xa
	codeCalm         code = 0xb
	codeSecurity     code = 0xc
	codeHTTP11       code = 0xd
	settingsPerFrame      = 64 // more in one frame is a game
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "error " + strconv.Itoa(int(c))
}

// appendFrame appends a frame's header.
func appendFrame(dst []byte, length int, typ, flags byte, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), typ, flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendReset(dst []byte, id uint32, c code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, frameReset, 0, id), uint32(c))
}

func appendWindow(dst []byte, id uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, frameWindow, 0, id), uint32(n))
}

func appendGoAway(dst []byte, last uint32, c code, text string) []byte {
	dst = appendFrame(dst, 8+len(text), frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c))
	return append(dst, text...)
}

func appendPing(dst []byte, ack bool, data uint64) []byte {
	flags := byte(0)
	if ack {
		flags = flagAck
	}
	return binary.BigEndian.AppendUint64(appendFrame(dst, 8, framePing, flags, 0), data)
}

// appendSettings appends a SETTINGS frame of id, value pairs.
func appendSettings(dst []byte, pairs ...uint32) []byte {
	dst = appendFrame(dst, len(pairs)/2*6, frameSettings, 0, 0)
	for i := 0; i < len(pairs); i += 2 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(pairs[i]))
		dst = binary.BigEndian.AppendUint32(dst, pairs[i+1])
	}
	return dst
}

// A problem is an error of a peer: of one stream, or of the whole connection
// where stream is 0.
type problem struct {
	stream uint32
	code   code
	text   string
}
