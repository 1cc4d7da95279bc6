package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SocketPath is where a running demo listens for `meshctl demo kill` and the
// like: in $XDG_RUNTIME_DIR, else in a directory of this user's own.
func SocketPath(getenv func(string) string) string {
	dir := getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("meshctl-%d", os.Getuid()))
	}
	return filepath.Join(dir, "meshctl-demo.sock")
}

// Tell has the demo at socket do action ("kill", "slow" or "reset") to an
// instance of service, and returns what it did.
func Tell(ctx context.Context, socket, action, service string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://demo/"+action+"?service="+url.QueryEscape(service), nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", fmt.Errorf("no demo runs here: start one with meshctl demo (%w)", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	said := strings.TrimSpace(string(answer))
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(said)
	}
	return said, nil
}

// listen takes the socket, also one that a killed demo left behind. It fails
// if another demo answers on it. remove takes away what listen made, once the
// listener is closed.
func listen(socket string) (l net.Listener, remove func(), err error) {
	dir := filepath.Dir(socket)
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	remove = func() {
		os.Remove(socket) // the listener may have
		if missing != nil {
			os.Remove(dir) // only if nobody put anything else there
		}
	}
	if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		conn.Close()
		return nil, nil, fmt.Errorf("another demo listens on %s", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	l, err = net.Listen("unix", socket)
	return l, remove, err
}

// actions are what a running demo can be told, by keys and by commands.
type actions map[string]func(ctx context.Context, service string) (string, error)

// serve answers on l until ctx ends; l's file is removed then.
func (a actions) serve(ctx context.Context, l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do, ok := a[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok || r.Method != http.MethodPost {
			http.Error(w, "want POST /kill, /slow or /reset", http.StatusNotFound)
			return
		}
		said, err := do(r.Context(), r.URL.Query().Get("service"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		fmt.Fprintln(w, said)
	})}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		server.Close()
	})
	server.Serve(l) // ends by Close, or with the listener
	if !stop() {
		<-stopped
	}
}
