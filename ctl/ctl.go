// Package ctl is meshctl: its verbs, their output and their exit codes.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// An App is one call of meshctl.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	// Getenv is os.Getenv in production.
	Getenv func(string) string
	// Interrupts are Ctrl-C and SIGTERM: the first ends a verb in order, the
	// second at once. May be nil.
	Interrupts <-chan os.Signal
	Version    string

	meshd  string        // --meshd
	second chan struct{} // closed at the second interrupt
}

// Main runs meshctl with args, without the program's name, and returns its
// exit code: 0, 1 when the verb failed, 2 when it was called wrongly.
func (a *App) Main(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.second = make(chan struct{})
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		a.interrupts(cancel, over)
	}()
	defer func() {
		close(over)
		<-watched
	}()

	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	failed := (*failure)(nil)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failed):
		if errors.Is(err, context.Canceled) {
			return exitFailed // the user knows
		}
		fmt.Fprintf(a.Err, "meshctl: %v\n", failed.err)
		if gone := (*api.Unreachable)(nil); errors.As(err, &gone) {
			fmt.Fprintln(a.Err, "is meshd running? start it with: meshd\n"+
				"or name another one with --meshd URL or MESHD_HTTP")
		}
		return exitFailed
	default:
		fmt.Fprintf(a.Err, "meshctl: %v\n", err)
		fmt.Fprintf(a.Err, "see: %s --help\n", called(root, args))
		return exitUsage
	}
}

// interrupts ends ctx at the first signal and closes a.second at the second.
func (a *App) interrupts(cancel context.CancelFunc, over <-chan struct{}) {
	select {
	case <-a.Interrupts:
		cancel()
	case <-over:
		return
	}
	select {
	case <-a.Interrupts:
		close(a.second)
	case <-over:
	}
}

// called is the command that args name, as far as they name one.
func called(root *cobra.Command, args []string) string {
	cmd, _, err := root.Find(args)
	if err != nil {
		cmd = root
	}
	return cmd.CommandPath()
}

// A failure is an error of a verb that was called rightly.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// verb marks the errors of run as failures; all others are the caller's.
func verb(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if usage := (*usageError)(nil); err == nil || errors.As(err, &usage) {
			return err
		}
		return &failure{err}
	}
}

// A usageError is a verb's own complaint about its arguments.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// between is for Command.Args: so many arguments, or the usage line.
func between(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return usagef("%d arguments: want %s", len(args), cmd.UseLine())
		}
		return nil
	}
}

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "meshctl",
		Short: "Run, scale and watch the services of a mesh",
		Long: `meshctl runs services with a sidecar each, scales them and shows what that does
to latency. "meshctl demo" shows all of it on a small application.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	def := a.Getenv("MESHD_HTTP")
	if def == "" {
		def = api.DefaultURL
	}
	root.PersistentFlags().StringVar(&a.meshd, "meshd", def, "meshd's HTTP address (MESHD_HTTP)")
	root.AddCommand(a.runCommand(), a.scaleCommand(), a.statusCommand(), a.topCommand(),
		a.applyCommand(), a.getCommand(), a.deleteCommand(), a.demoCommand(), a.whyCommand(),
		a.tapCommand(), a.latencyCommand(), a.traceCommand(), a.mapCommand(), a.checkCommand(), a.logLevelCommand(), a.versionCommand())
	return root
}

func (a *App) client() (*api.Client, error) {
	client, err := api.NewClient(a.meshd)
	if err != nil {
		return nil, usagef("--meshd: %v", err)
	}
	return client, nil
}

// withClient runs f with a client of meshd.
func (a *App) withClient(f func(*api.Client) error) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// completeServices offers the names of services for a verb's first argument.
func (a *App) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		_ = a.withClient(func(c *api.Client) error { // no meshd, no names
			status, err := c.Status(cmd.Context())
			for _, s := range status.Services {
				names = append(names, s.Name)
			}
			return err
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
