package supervise

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary run again, with this in its environment, is one of the
// programs below.
const roleEnv = "SUPERVISE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		programs[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var programs = map[string]func(){
	// serve answers on $PORT and drains on SIGTERM.
	"serve": func() { serve(os.Getenv("PORT")) },
	// sidecar serves /ready on the address after --admin.
	"sidecar": func() { serve(strings.TrimPrefix(flagValue("--admin"), "127.0.0.1:")) },
	// stubborn ignores SIGTERM.
	"stubborn": func() {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring")
		select {}
	},
	"fail": func() { os.Exit(7) },
	"ok":   func() {},
	// parent leaves a child of its own behind and ends when its input does.
	"parent": func() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleEnv+"=stubborn")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		fmt.Println("grandchild", cmd.Process.Pid)
		select {}
	},
	// supervisor runs a stubborn child until it is killed itself.
	"supervisor": func() {
		p, err := startProcess(Spec{Path: os.Args[0], Env: []string{roleEnv + "=stubborn"}})
		if err != nil {
			panic(err)
		}
		fmt.Println("child", p.pid)
		<-p.done
	},
}

func serve(port string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("serving", os.Getenv("MESHD_INSTANCE"))
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getpid())
	}))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	fmt.Println("drained")
}

func flagValue(name string) string {
	for i, arg := range os.Args {
		if arg == name {
			return os.Args[i+1]
		}
	}
	return ""
}

// env makes the test binary the program role, without the race detector's
// pause at its end.
func env(role string) []string {
	return []string{roleEnv + "=" + role, "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE")}
}

func program(t *testing.T, role string) Spec {
	t.Helper()
	return Spec{
		Name: "app", Path: os.Args[0], Env: env(role),
		Grace: 10 * time.Second,
	}
}

// A recorder collects events and lets a test wait for one.
type recorder chan Event

func newRecorder() recorder { return make(recorder, 1000) }

func (r recorder) add(e Event) { r <- e }

// until returns the events up to the first that matches, it included.
func (r recorder) until(t *testing.T, what string, match func(Event) bool) []Event {
	t.Helper()
	var seen []Event
	timeout := time.After(20 * time.Second)
	for {
		select {
		case e := <-r:
			seen = append(seen, e)
			if match(e) {
				return seen
			}
		case <-timeout:
			t.Fatalf("no event %s; seen: %v", what, seen)
		}
	}
}

func (r recorder) kind(t *testing.T, process string, k Kind) Event {
	t.Helper()
	seen := r.until(t, process+" "+k.String(), func(e Event) bool { return e.Process == process && e.Kind == k })
	return seen[len(seen)-1]
}

// lineChan is a Writer that yields what it is given, line by line.
type lineChan chan string

func (c lineChan) Write(p []byte) (int, error) {
	s := bufio.NewScanner(strings.NewReader(string(p)))
	for s.Scan() {
		c <- s.Text()
	}
	return len(p), nil
}
