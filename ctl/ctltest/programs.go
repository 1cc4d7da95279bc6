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
	return []string{roleEnv + "=" + role, "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE")}
}

// Main is for TestMain: it does not return if the process is one of the
// programs: app (serves on $PORT, ends on SIGTERM), stubborn (does not), fail,
// sidecar and meshd.
func Main() {
	switch os.Getenv(roleEnv) {
	case "app":
		serve("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(sayName))
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		go serve("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(sayName))
		select {}
	case "sidecar":
		sidecar(os.Args[1:])
	case "meshd":
		flags := flag.NewFlagSet("meshd", flag.ExitOnError)
		addr := flags.String("http-addr", "", "")
		flags.String("xds-addr", "", "")
		flags.String("data-dir", "", "")
		flags.Parse(os.Args[1:])
		serve(*addr, newMeshd().handler())
	case "fail":
		os.Exit(7)
	default:
		return
	}
	os.Exit(0)
}

func sayName(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getenv("MESHD_INSTANCE")) }

// serve answers until SIGTERM.
func serve(addr string, h http.Handler) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("serving", os.Getenv("MESHD_INSTANCE"))
	go http.Serve(l, h)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
}
