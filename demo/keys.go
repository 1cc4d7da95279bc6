package demo

import (
	"os"
	"syscall"

	"golang.org/x/term"
)

// A keyboard is the terminal in raw mode: every key at once and none echoed.
type keyboard struct {
	tty   *os.File
	saved *term.State
}

// openKeyboard opens the controlling terminal anew, non-blocking, so that
// close ends a read that waits.
func openKeyboard() (*keyboard, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	k := &keyboard{tty: tty}
	if err := k.control(func(fd int) (err error) {
		k.saved, err = term.MakeRaw(fd)
		return err
	}); err != nil {
		tty.Close()
		return nil, err
	}
	return k, nil
}

// control is for what needs the descriptor; Fd would make it blocking.
func (k *keyboard) control(f func(fd int) error) error {
	raw, err := k.tty.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// read calls press for every key until the keyboard is closed.
func (k *keyboard) read(press func(key byte)) {
	var buf [16]byte
	for {
		n, err := k.tty.Read(buf[:])
		for _, key := range buf[:n] {
			press(key)
		}
		if err != nil {
			return
		}
	}
}

// close gives the terminal back as it was.
func (k *keyboard) close() {
	k.control(func(fd int) error { return term.Restore(fd, k.saved) }) // fails only without a terminal
	k.tty.Close()
}
