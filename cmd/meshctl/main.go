// Command meshctl runs, scales and watches the services of a mesh.
package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/meshd/meshd/ctl"
)

func main() {
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	app := ctl.App{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
		Interrupts: interrupts, Version: version(),
	}
	os.Exit(app.Main(os.Args[1:]))
}

// version is the module's, as the Go tool stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
