// Package ctltest stands in for what meshctl works with: an application, a
// sidecar and meshd's HTTP interface. Tests only.
package ctltest

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// roleEnv names the program that a test binary becomes when it is run again.
const roleEnv = "CTLTEST_ROLE"

// Env makes the test binary the program role, without the race detector's
// pause at its end.
func Env(role string) []string {
	return []string{roleEnv + "=" + role, "GORACE=atexit_sleep_ms=0"}
}

// Main is for TestMain: it does not return if the process is one of the
// programs: app (serves on $PORT, drains on SIGTERM), sidecar (serves --admin
// likewise), stubborn (app, but ignores SIGTERM), fail.
func Main() {
	switch os.Getenv(roleEnv) {
	case "app":
		serve("127.0.0.1:" + os.Getenv("PORT"))
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		go serve("127.0.0.1:" + os.Getenv("PORT"))
		select {}
	case "sidecar":
		flags := flag.NewFlagSet("sidecar", flag.ExitOnError)
		admin := ""
		flags.StringVar(&admin, "admin", "", "")
		for _, name := range []string{"service", "namespace", "meshd", "outbound", "inbound", "app", "service-port", "instance", "state-dir"} {
			flags.String(name, "", "")
		}
		flags.Parse(os.Args[1:])
		serve(admin)
	case "fail":
		os.Exit(7)
	default:
		return
	}
	os.Exit(0)
}

// serve answers with the instance's name until SIGTERM.
func serve(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("serving", os.Getenv("MESHD_INSTANCE"))
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv("MESHD_INSTANCE"))
	}))
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
}
