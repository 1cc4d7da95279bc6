package show

import (
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// A Screen draws the same lines again and again in one place at the end of a
// terminal; what is printed meanwhile scrolls by above it. It is safe for
// concurrent use.
type Screen struct {
	mu     sync.Mutex
	w      io.Writer
	width  func() int
	height int // of what is drawn now
	last   []string
}

// NewScreen draws on w, cutting lines to what width says at that moment.
func NewScreen(w io.Writer, width func() int) *Screen { return &Screen{w: w, width: width} }

// Terminal returns w's file and true if it is one.
func Terminal(w any) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// TerminalWidth is f's width now, or 80.
func TerminalWidth(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// TerminalHeight is f's height now, or 24.
func TerminalHeight(f *os.File) int {
	if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 0 {
		return h
	}
	return 24
}

// Draw replaces what was drawn before.
func (s *Screen) Draw(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = lines
	s.paint("")
}

// Write puts whole lines above what is drawn.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paint(strings.ReplaceAll(strings.TrimRight(string(p), "\r\n"), "\n", "\x1b[K\r\n") + "\x1b[K\r\n")
	return len(p), nil
}

// paint needs s.mu. It writes once, so that nothing flickers; \r\n because
// the terminal may be in raw mode.
func (s *Screen) paint(above string) {
	var b strings.Builder
	if s.height > 0 {
		b.WriteString("\r\x1b[" + strconv.Itoa(s.height) + "A")
	}
	b.WriteString(above)
	width := s.width()
	for _, line := range s.last {
		b.WriteString(cut(line, width) + "\x1b[0m\x1b[K\r\n")
	}
	b.WriteString("\x1b[J")
	s.height = len(s.last)
	io.WriteString(s.w, b.String())
}

// cut shortens line to width columns; escape sequences take none.
func cut(line string, width int) string {
	column := 0
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				return line[:i]
			}
			i += end + 1
			continue
		}
		if column == width {
			return line[:i]
		}
		_, n := utf8.DecodeRuneInString(line[i:])
		i, column = i+n, column+1
	}
	return line
}
