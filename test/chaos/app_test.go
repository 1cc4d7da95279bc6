package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// appDirEnv is the folder in which an instance of the application says where
// it is.
const appDirEnv = "CHAOS_APPS"

// instanceHeader names the instance in its answers.
const instanceHeader = "X-Instance"

// An appInfo is what an instance writes there.
type appInfo struct {
	PID  int
	Addr string
}

// appStats is GET /-/stats.
type appStats struct {
	Calls int64
	First int64 // when the first call came, Unix nanoseconds
}

// app serves on $PORT until SIGTERM:
//
//	/?delay=     about 100 bytes, as GET and POST; as /-/mode says
//	/big?n=      n bytes of the pattern
//	/sink        reads the pattern and answers with its length
//	/-/mode?set= ok, fail (500), unavailable (503) or hang
//
// and gRPC, WebSocket and bytes of no protocol: see everything and splitter.
func app() error {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name := os.Getenv("MESHD_INSTANCE")
	a := &application{name: name, body: []byte(strings.Repeat("x", 99) + "\n")}
	a.mode.Store("ok")
	versions := &http.Protocols{}
	versions.SetHTTP1(true)
	versions.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: everything(a.handler()), Protocols: versions}
	served := make(chan error, 1)
	go func() { served <- server.Serve(split(l)) }()
	info, err := json.Marshal(appInfo{os.Getpid(), l.Addr().String()})
	if err != nil {
		return err
	}
	path := filepath.Join(os.Getenv(appDirEnv), name)
	if err := os.WriteFile(path+".new", info, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

type application struct {
	name         string
	body         []byte
	mode         atomic.Value
	calls, first atomic.Int64
}

func (a *application) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", a.small)
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.Copy(w, &pattern{left: n})
	})
	mux.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := checkPattern(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/-/stats", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(appStats{a.calls.Load(), a.first.Load()})
	})
	mux.HandleFunc("/-/mode", func(_ http.ResponseWriter, r *http.Request) { a.mode.Store(r.URL.Query().Get("set")) })
	return mux
}

func (a *application) small(w http.ResponseWriter, r *http.Request) {
	if a.calls.Add(1) == 1 {
		a.first.Store(time.Now().UnixNano())
	}
	io.Copy(io.Discard, r.Body)
	if d, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil {
		pause := time.NewTimer(d)
		defer pause.Stop()
		<-pause.C
	}
	w.Header().Set(instanceHeader, a.name)
	switch a.mode.Load() {
	case "fail":
		http.Error(w, "told to fail", http.StatusInternalServerError)
	case "unavailable":
		http.Error(w, "told to be unavailable", http.StatusServiceUnavailable)
	case "hang":
		<-r.Context().Done()
	default:
		w.Write(a.body)
	}
}

// A pattern is content of which every byte says where it belongs.
type pattern struct{ at, left int64 }

// patternBlock repeats with a prime period, so that a lost or doubled buffer shows.
const patternBlock = 65521

func patternByte(i int64) byte { i %= patternBlock; return byte(i ^ i>>8) }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.left)]
	for i := range b {
		b[i] = patternByte(p.at + int64(i))
	}
	p.at += int64(len(b))
	p.left -= int64(len(b))
	return len(b), nil
}

// checkPattern reads to the end and counts.
func checkPattern(r io.Reader) (n int64, err error) {
	b := make([]byte, 64<<10)
	for {
		k, err := r.Read(b)
		for i, c := range b[:k] {
			if want := patternByte(n + int64(i)); c != want {
				return n, fmt.Errorf("byte %d is %#x, want %#x", n+int64(i), c, want)
			}
		}
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("after %d bytes: %w", n, err)
		}
	}
}
