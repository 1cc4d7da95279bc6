package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// The weights of findings. Only problems make meshctl check fail.
const (
	problem = "problem"
	note    = "note"
)

// A finding is something that is wrong or missing, and what to do about it.
type finding struct {
	Level   string `json:"level"`
	Subject string `json:"subject"`
	What    string `json:"what"`
	Do      string `json:"do"`
}

// A checkup is what meshctl check has looked at, and found.
type checkup struct {
	Meshd     string    `json:"meshd"`
	Version   string    `json:"version"`
	Services  int       `json:"services"`
	Instances int       `json:"instances"`
	Clients   int       `json:"clients"`
	Sidecars  int       `json:"sidecars"` // that were asked, and answered
	Findings  []finding `json:"findings"`
}

func (a *App) checkCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong or missing in the mesh",
		Long: `Say what is wrong or missing in the mesh, and what to do about it: meshd and its
versions, sidecars that are not connected or refuse their configuration, services
without instances, applications that do not hand traceparent on, telemetry that
gets lost. The exit code is 1 where there is a problem; a note is none.`,
		Example: `  meshctl check
  meshctl check -o json | jq '.findings[].what'`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			var c checkup
			err := a.withClient(func(client *api.Client) (err error) {
				c, err = a.check(cmd.Context(), client)
				return err
			})
			if err != nil {
				return err
			}
			if err := out.print(a.Out, c, func() []string { return checkTable(c) }); err != nil {
				return err
			}
			if n := c.count(problem); n > 0 {
				return fmt.Errorf("%s found", plural(n, "problem"))
			}
			return nil
		}),
	}
	out.flag(cmd)
	return cmd
}

func (a *App) check(ctx context.Context, client *api.Client) (checkup, error) {
	status, err := client.Status(ctx)
	if err != nil {
		return checkup{}, err
	}
	c := checkup{Meshd: client.URL(), Version: status.Version, Services: len(status.Services), Clients: len(status.Clients), Findings: []finding{}}
	for _, s := range status.Services {
		c.Instances += len(s.Instances)
	}
	of := sidecarsOf(status, "")
	answers := make([]sidecarAnswer, len(of))
	errs := eachSidecar(ctx, of, func(ctx context.Context, i int, s sidecarAt) (err error) {
		answers[i].ready = api.SidecarReady(ctx, s.addr)
		answers[i].stats, err = api.Stats(ctx, s.addr)
		return err
	})
	if err := ctx.Err(); err != nil {
		return checkup{}, err
	}
	c.versions(a.Version, status)
	c.nacks(status.Clients)
	c.instances(status.Services)
	c.connections(status)
	c.store(status.Telemetry)
	var away []string
	for i, s := range of {
		if errs[i] != nil {
			away = append(away, s.addr)
			continue
		}
		c.Sidecars++
		c.sidecar(s, answers[i])
	}
	c.unreachable(away, len(of))
	return c, nil
}

func (c *checkup) add(level, subject, do, format string, args ...any) {
	c.Findings = append(c.Findings, finding{Level: level, Subject: subject, What: fmt.Sprintf(format, args...), Do: do})
}

func (c *checkup) count(level string) (n int) {
	for _, f := range c.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

func checkTable(c checkup) []string {
	lines := []string{fmt.Sprintf("meshd %s at %s: %s with %s, %s; %s asked", c.Version, c.Meshd,
		plural(c.Services, "service"), plural(c.Instances, "instance"), plural(c.Clients, "client"), plural(c.Sidecars, "sidecar"))}
	for _, level := range []string{problem, note} {
		for _, f := range c.Findings {
			if f.Level == level {
				lines = append(lines, "", fmt.Sprintf("%-8s %s: %s", level, f.Subject, show.Printable(f.What)))
				lines = append(lines, "         "+f.Do)
			}
		}
	}
	if len(c.Findings) == 0 {
		return append(lines, "nothing found that is wrong or missing")
	}
	return append(lines, "", plural(c.count(problem), "problem")+", "+plural(c.count(note), "note"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
