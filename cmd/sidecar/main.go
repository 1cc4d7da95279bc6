// Sidecar is the data plane of the mesh: it runs next to every instance.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/meshd/meshd/sidecar"
)

// version is set by the linker.
var version = "dev"

func main() {
	// The heap profiler's tables are a megabyte. GODEBUG=memprofilerate=4096,
	// or any rate but the default, turns it on.
	if runtime.MemProfileRate == 512<<10 {
		runtime.MemProfileRate = 0
	}
	// The first signal drains; a second one ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	force, end := context.WithCancel(context.Background())
	go func() {
		<-ctx.Done()
		stop()
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, syscall.SIGINT)
		<-again
		end()
	}()
	cmd := command(version, os.Getenv, os.Stderr, func(cfg sidecar.Config) error { return sidecar.Run(ctx, force, cfg) })
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "sidecar:", err)
		os.Exit(1)
	}
}
