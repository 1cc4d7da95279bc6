package page

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/tail"
)

// A browser is a headless Chromium, spoken to over a pipe in the DevTools
// protocol (https://chromedevtools.github.io/devtools-protocol/): JSON messages
// that end with a zero byte. It ends with the pipe, so with the test.
type browser struct {
	t   testing.TB
	in  *os.File
	out tail.Buffer

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	events  func(session, method string, params json.RawMessage)
	gone    bool
}

type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// patience is for what is only waited for, not measured.
const patience = 30 * time.Second

// newBrowser starts a Chromium; events is called with what it says by itself.
func newBrowser(t testing.TB, events func(session, method string, params json.RawMessage)) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: .ci/setup installs it", err)
	}
	profile, err := os.MkdirTemp("", "meshd-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: in, waiting: map[int]chan answer{}, events: events}
	// --no-sandbox: CI is root in a container, and opens our own pages only.
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--no-first-run", "--log-level=3", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
		"--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // its descriptors 3 and 4
	cmd.Stdout, cmd.Stderr = &b.out, &b.out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(out)
	}()
	t.Cleanup(func() {
		in.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // how it ended is of no interest
		}()
		timer := time.NewTimer(5 * time.Second)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
		<-ended
		<-read
		out.Close()
		_ = os.RemoveAll(profile) // a straggler may still write; the folder is temporary
		if t.Failed() {
			t.Logf("chromium wrote last:\n%s", &b.out)
		}
	})
	return b
}

func (b *browser) read(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			break
		}
		var m struct {
			answer
			ID        int
			SessionID string
			Method    string
			Params    json.RawMessage
		}
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			b.t.Errorf("chromium says %q: %v", text, err)
			continue
		}
		if m.ID == 0 {
			b.events(m.SessionID, m.Method, m.Params)
			continue
		}
		b.mu.Lock()
		if w := b.waiting[m.ID]; w != nil {
			w <- m.answer
			delete(b.waiting, m.ID)
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	for _, w := range b.waiting {
		close(w)
	}
}

// call asks for a method and reads its result into result, if that is not nil.
func (b *browser) call(session, method string, params, result any) error {
	if params == nil {
		params = struct{}{}
	}
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return errors.New("chromium has ended")
	}
	b.last++
	id, w := b.last, make(chan answer, 1)
	b.waiting[id] = w
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params"`
	}{id, session, method, params})
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a, ok := <-w:
		switch {
		case !ok:
			return errors.New("chromium has ended")
		case a.Error != nil:
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		case result != nil:
			return json.Unmarshal(a.Result, result)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: no answer in %v", method, patience)
	}
}
