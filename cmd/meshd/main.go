// Command meshd is the control plane: it tells sidecars where services are and
// how to call them, and keeps what they measure.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/meshd/meshd/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process as it would any other.
	context.AfterFunc(ctx, stop)
	var background sync.WaitGroup
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		background.Go(func() { keepSmall(ctx) })
	}
	cmd := command(version(), os.Getenv, os.Stderr, control.Run)
	err := cmd.ExecuteContext(ctx)
	stop()
	background.Wait()
	if err != nil {
		fmt.Fprintln(os.Stderr, "meshd:", err)
		os.Exit(1)
	}
}

// version is the module's, as the Go tool stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
