package grpc

import "strings"

const hexDigits = "0123456789ABCDEF"

// plain reports whether grpc-message carries a byte as it is.
func plain(c byte) bool { return c >= ' ' && c <= '~' && c != '%' }

// EncodeMessage writes a text as the value of grpc-message: printable ASCII as
// it is, every other byte of its UTF-8 and '%' as "%XX". What is not UTF-8
// becomes U+FFFD. It allocates only if something has to change.
func EncodeMessage(text string) string {
	first := 0
	for first < len(text) && plain(text[first]) {
		first++
	}
	if first == len(text) {
		return text
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	var out strings.Builder
	out.Grow(len(text) + 16)
	for i := range len(text) {
		if c := text[i]; plain(c) {
			out.WriteByte(c)
		} else {
			out.WriteByte('%')
			out.WriteByte(hexDigits[c>>4])
			out.WriteByte(hexDigits[c&15])
		}
	}
	return out.String()
}

// DecodeMessage is the text of a grpc-message. A '%' that no two hexadecimal
// digits follow stands for itself: the specification wants a message shown as
// well as it can be, never refused. The text may be anything, controls and
// invalid UTF-8 included.
func DecodeMessage(value string) string {
	if strings.IndexByte(value, '%') < 0 {
		return value
	}
	var out strings.Builder
	out.Grow(len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			hi, lo := unhex(value[i+1]), unhex(value[i+2])
			if hi >= 0 && lo >= 0 {
				out.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		out.WriteByte(value[i])
	}
	return out.String()
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
